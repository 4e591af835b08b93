//! Reads `postmaster.pid`, in which a running Postgres says who, where and how far it is.

use std::fs;
use std::path::{Path, PathBuf};

/// How far a server is, from line 8 of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Starting,
    Ready,
    Stopping,
}

/// What the file says about one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Postmaster {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) socket_dir: PathBuf,
    pub(crate) status: Status,
}

impl Postmaster {
    /// The server that `data` names, running or not; `None` without a file or while it is half written.
    pub(crate) fn in_data(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(pid_file(data)).ok()?)
    }

    /// Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        Some(Self {
            pid: lines.first()?.parse().ok()?,
            port: lines.get(3)?.parse().ok()?,
            socket_dir: lines.get(4)?.into(),
            status: match *lines.get(7)? {
                "ready" | "standby" => Status::Ready,
                "stopping" => Status::Stopping,
                _ => Status::Starting,
            },
        })
    }

    /// Whether its process is there and, where the system can tell, is a Postgres.
    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.pid) && !is_another_program(self.pid)
    }
}

/// Removes a pid file whose number now belongs to a program that is not Postgres.
///
/// Postgres replaces the file of a dead server itself, but takes any living process with that
/// number for the server; in a restarted container small numbers come back at once.
pub(crate) fn remove_misleading_file(data: &Path) {
    let first_line = fs::read_to_string(pid_file(data)).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
    if first_line.is_some_and(|pid| is_alive(pid) && is_another_program(pid)) {
        // Left in place, it makes Postgres refuse with a message that names it: nothing is hidden.
        drop(fs::remove_file(pid_file(data)));
    }
}

fn pid_file(data: &Path) -> PathBuf {
    data.join("postmaster.pid")
}

fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    if pid <= 0 {
        return false;
    }
    #[expect(unsafe_code, reason = "the standard library cannot ask whether a process exists")]
    // SAFETY: signal 0 only checks, and kill touches no memory of ours.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// True only with proof: Linux names the program of every process.
fn is_another_program(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| !name.starts_with("postgres"))
}

#[cfg(test)]
mod tests {
    use super::{Postmaster, Status};

    #[test]
    fn a_server_is_ready_when_line_8_says_so() {
        let text = "42\n/d/data\n1700000000\n5432\n/d/run\n\n  5432001  7\nready   \n";
        let postmaster = Postmaster::parse(text).unwrap();
        assert_eq!((postmaster.pid, postmaster.port, postmaster.status), (42, 5432, Status::Ready));
        assert_eq!(Postmaster::parse(&text.replace("ready", "starting")).unwrap().status, Status::Starting);
        assert_eq!(Postmaster::parse("42\n/d/data\n"), None, "half written");
    }
}
