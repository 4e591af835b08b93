//! The processes of one agent: everything in the session that its program leads, and whatever else
//! descends from its supervisor, which processes get as their parent that lose their own.
//!
//! Who belongs to an agent is read from `/proc`; where there is none, only the leader's own
//! process group is known.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use serde::{Deserialize, Serialize};

/// Ticks of `/proc/<pid>/stat` per second: the kernel's ABI has fixed them at 100.
#[expect(clippy::cast_precision_loss, reason = "far fewer ticks than a float holds exactly")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

/// A process, told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// When it started, in ticks since the host booted.
    started: u64,
}

impl Identity {
    /// `None` when there is no such process, or no way to know.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: Process::read(pid)?.started })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// What the session of an agent uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processes: u32,
    /// Resident memory that is not shared with others.
    pub(crate) memory_bytes: u64,
    /// Of living processes and of those that they waited for.
    pub(crate) cpu_seconds: f64,
}

/// How many processes the agent has; `None` where that cannot be known.
#[cfg(target_os = "linux")]
pub(crate) fn count(session: i32, supervisor: Option<i32>) -> Option<u32> {
    u32::try_from(members(session, supervisor)?.len()).ok()
}

/// The number that the host gave out last, to a process or a thread; `None` where that cannot be known.
#[cfg(target_os = "linux")]
pub(crate) fn newest_pid() -> Option<u32> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().nth(4)?.parse().ok().filter(|pid| *pid != 0)
}

/// How many processes can have started at the most while the newest one went from `then` to `now`:
/// numbers are given out in order, and from the least one again after the greatest. `None` where
/// they began again and nobody knows how many there are.
#[cfg(target_os = "linux")]
pub(crate) fn started_between(then: u32, now: u32) -> Option<u32> {
    if let Some(started) = now.checked_sub(then) {
        return Some(started);
    }
    let greatest: u32 = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim_ascii().parse().ok()?;
    Some(greatest.checked_sub(then)?.saturating_add(now))
}

/// Adds up what the processes of the agent use; `None` where that cannot be known.
pub(crate) fn usage(session: i32, supervisor: Option<i32>) -> Option<Usage> {
    let page_bytes = page_bytes();
    let mut usage = Usage::default();
    for process in members(session, supervisor)? {
        usage.processes += 1;
        usage.cpu_seconds += seconds(process.ticks);
        usage.memory_bytes += private_pages(process.pid).unwrap_or_default() * page_bytes;
    }
    Some(usage)
}

/// Signals the process group that the program leads, every other group of its session, since a shell
/// gives each job a group of its own, and each process that left the session but descends from the
/// supervisor. The caller makes sure that `session` is not reaped and that `supervisor` is alive.
pub(crate) fn signal(session: i32, supervisor: Option<i32>, signal: i32) {
    // First, since all of a group are signalled at once: none of them can start another one meanwhile.
    signal_group(session, signal);
    let (inside, outside): (Vec<_>, Vec<_>) =
        members(session, supervisor).unwrap_or_default().into_iter().partition(|process| process.session == session);
    let groups: BTreeSet<i32> = inside.iter().map(|process| process.group).filter(|group| *group != session).collect();
    for group in groups {
        signal_group(group, signal);
    }
    for process in outside {
        process.signal(signal);
    }
}

/// Signals every process that descends from the supervisor. Returns whether there was one that had
/// not ended yet.
pub(crate) fn signal_descendants(supervisor: i32, signal: i32) -> bool {
    // No session has this number.
    let left: Vec<_> = members(-1, Some(supervisor)).unwrap_or_default().into_iter().filter(|process| !process.ended).collect();
    for process in &left {
        process.signal(signal);
    }
    !left.is_empty()
}

/// Signals one process. The caller makes sure that the number is still its own.
#[expect(unsafe_code, reason = "the standard library sends no signals")]
pub(crate) fn signal_process(pid: i32, signal: i32) {
    // SAFETY: kill takes numbers only.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Signals a process group. The leader of the session is not reaped, so its group is its own and no
/// other; another one that ended since it was listed is at worst a number unused.
#[expect(unsafe_code, reason = "the standard library cannot signal a process group")]
fn signal_group(group: i32, signal: i32) {
    // SAFETY: killpg takes numbers only.
    unsafe {
        libc::killpg(group, signal);
    }
}

struct Process {
    pid: i32,
    parent: i32,
    /// It has ended and is not reaped yet.
    ended: bool,
    group: i32,
    session: i32,
    ticks: u64,
    started: u64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything. Behind it, from field 3 of proc(5) on: state,
        // parent, group, session; user and system time of its own and of children it waited for
        // are fields 14 to 17, the start is field 22.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
        let count = |field: usize| number(field).and_then(|number| u64::try_from(number).ok());
        Some(Self {
            pid,
            parent: i32::try_from(number(4)?).ok()?,
            ended: fields.first() == Some(&"Z"),
            group: i32::try_from(number(5)?).ok()?,
            session: i32::try_from(number(6)?).ok()?,
            ticks: (14..=17).map(count).sum::<Option<u64>>()?,
            started: count(22)?,
        })
    }

    /// Signals this process, unless its number was given to another one since it was read.
    fn signal(&self, signal: i32) {
        if (Identity { pid: self.pid, started: self.started }).is_alive() {
            signal_process(self.pid, signal);
        }
    }
}

/// The processes of the session and those that descend from the supervisor, without itself.
fn members(session: i32, supervisor: Option<i32>) -> Option<Vec<Process>> {
    let all: Vec<Process> = processes()?.collect();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut descendants = BTreeSet::new();
    let mut parents: Vec<i32> = supervisor.into_iter().collect();
    while let Some(parent) = parents.pop() {
        parents.extend(children.get(&parent).into_iter().flatten().filter(|child| descendants.insert(**child)));
    }
    Some(all.into_iter().filter(|process| process.session == session || descendants.contains(&process.pid)).collect())
}

fn processes() -> Option<impl Iterator<Item = Process>> {
    let entries = fs::read_dir("/proc").ok()?;
    Some(entries.filter_map(|entry| Process::read(entry.ok()?.file_name().to_str()?.parse().ok()?)))
}

/// Pages of memory that are in use and not shared, from fields 2 and 3 of `/proc/<pid>/statm`.
fn private_pages(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

#[expect(unsafe_code, reason = "the standard library does not tell the size of a page")]
fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
