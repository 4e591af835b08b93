//! A program that is measured: started, waited for, and ended by its process id.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    http::{Connection, Request},
    machine,
};

/// How long a program may take to answer its first request, migrations included.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often a program that starts is asked.
const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to end by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// The end of what a program wrote that is shown when it fails, in lines.
const LOG_LINES_SHOWN: usize = 20;

/// A running program; ended hard when dropped.
pub(crate) struct Program {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    child: Child,
}

impl Program {
    /// Starts a program with nothing set but `settings` and `PORT`, and waits until it answers 200 on `health`.
    ///
    /// Errors: what it wrote before it ended.
    pub(crate) async fn start(
        name: &'static str,
        mut command: Command,
        settings: &[(&str, &str)],
        health: &'static str,
        folder: &Path,
    ) -> Result<Self> {
        let address = free_address()?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("{} could not be created", log.display()))?;
        command.env_clear().envs(settings.iter().copied()).env("PORT", address.port().to_string());
        for name in ["PATH", "HOME", "LANG", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A .env file of the developer must not reach into what is measured.
        command.current_dir(folder).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let pid = child.id().context("a program that was just started has a process id")?;
        let mut program = Self { name, address, pid, child };
        program.until_ready(health, &log).await?;
        Ok(program)
    }

    async fn until_ready(&mut self, health: &'static str, log: &PathBuf) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        let request = Request::get(health);
        loop {
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.send(&request).await.is_ok_and(|answer| answer.status.is_success())
            {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let text = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
                bail!(
                    "{} did not start ({}): it wrote\n{last}",
                    self.name,
                    ended.map_or("no answer".to_owned(), |status| status.to_string())
                );
            }
            sleep(POLL).await;
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// CPU that it took so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu_of(self.pid)
    }

    /// Ends it as an operator does, or hard when that takes too long.
    pub(crate) async fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid).context("process ids are small")?;
        #[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
        // SAFETY: kill reads two integers and touches no memory of ours; the child is ours and not reaped yet.
        let sent = unsafe { libc::kill(pid, libc::SIGTERM) };
        if sent != 0 || timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await.with_context(|| format!("{} could not be ended", self.name))?;
        }
        Ok(())
    }
}

/// An address on loopback that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("loopback has no free port")?;
    Ok(listener.local_addr()?)
}
