//! What measured, and how much CPU a process took. Reads `/proc`, so this works on Linux only.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Clock ticks per second in `/proc/<pid>/stat`: fixed in what Linux tells programs (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// What CPU times are counted in.
pub(crate) const TICK: Duration = Duration::from_millis(1000 / TICKS_PER_SECOND);

/// The part of `/proc/<pid>/stat` that is of use here; times in clock ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    /// Of children that have ended.
    reaped: u64,
}

impl Stat {
    /// Reads a line of proc(5). The name, the second field, may hold anything, so what follows its last bracket counts.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3 of the manual comes first here.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(4)?).ok()?, own: number(14)? + number(15)?, reaped: number(16)? + number(17)? })
    }

    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let line =
            fs::read_to_string(&path).with_context(|| format!("{path} could not be read: process {pid} is gone, or this is not Linux"))?;
        Self::parse(&line).with_context(|| format!("{path} is not as proc(5) has it"))
    }
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// User and system time of all threads of a process.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    Ok(duration(Stat::of(pid)?.own))
}

/// As [`cpu_of`], with the process's children, those that have ended included.
pub(crate) fn cpu_of_family(pid: u32) -> Result<Duration> {
    let parent = Stat::of(pid)?;
    let mut ticks = parent.own + parent.reaped;
    for entry in fs::read_dir("/proc").context("/proc could not be read")? {
        let child = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // Whatever ended meanwhile is counted by its parent the next time.
        if let Some(stat) = child.and_then(|child| Stat::of(child).ok())
            && stat.parent == pid
        {
            ticks += stat.own;
        }
    }
    Ok(duration(ticks))
}

/// Every process of this machine that runs this program.
pub(crate) fn processes_of(program: &Path) -> Result<Vec<u32>> {
    let program = program.canonicalize().with_context(|| format!("{} is not there", program.display()))?;
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc could not be read")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ended meanwhile has no program.
        if let Some(pid) = pid.filter(|pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)) {
            processes.push(pid);
        }
    }
    Ok(processes)
}

/// Memory of a process in KiB: its share of what it has in common with others, and what it has alone.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) proportional_kib: u64,
    pub(crate) private_kib: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("{path} could not be read"))?;
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self { proportional_kib: kib("Pss:")?, private_kib: kib("Private_Clean:")? + kib("Private_Dirty:")? })
    }
}

/// Files and sockets that a process has open.
pub(crate) fn open_files(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("{path} could not be read"))?.count())
}

/// What all processes of this machine took together, steal of a hypervisor included.
pub(crate) fn cpu_of_machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat could not be read: this is not Linux")?;
    busy(&text).map(duration).context("/proc/stat is not as proc(5) has it")
}

/// The first line of proc(5)'s `/proc/stat` without the time spent idle or waiting for disks, the fourth and fifth number.
fn busy(stat: &str) -> Option<u64> {
    let numbers: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    (numbers.len() == 8).then(|| numbers.iter().sum::<u64>() - numbers[3] - numbers[4])
}

/// Where and with what something was measured.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    /// Average number of running processes over the minute before: how much else was going on.
    load_average: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let cpus = pairs("/proc/cpuinfo");
        let memory_kib = pairs("/proc/meminfo").get("MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            cpu: cpus.get("model name").cloned().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.unwrap_or_default() / (1024 * 1024),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            load_average: first_word("/proc/loadavg"),
        }
    }
}

/// Versions of what was measured and of what made it.
#[derive(Serialize)]
pub(crate) struct Versions {
    /// Of this project.
    commit: String,
    /// Whether there were changes that are not committed.
    uncommitted_changes: bool,
    rustc: String,
    node: String,
}

impl Versions {
    pub(crate) fn read() -> Self {
        let status = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"];
        Self {
            commit: printed("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown),
            uncommitted_changes: printed("git", &status).is_none_or(|changes| !changes.is_empty()),
            rustc: printed("rustc", &["--version"]).unwrap_or_else(unknown),
            node: printed("node", &["--version"]).unwrap_or_else(unknown),
        }
    }
}

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench)
}

/// What a program prints in the root of the project; `None` if it fails.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The first value of each name in a file of lines `name: value`.
fn pairs(path: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut pairs = BTreeMap::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        pairs.entry(name.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
    }
    pairs
}

fn first_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().map_or_else(unknown, str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_that_looks_like_fields() {
        let line = "42 (a b) 1 (c) S 7 42 42 0 -1 4194560 9 9 9 9 120 30 4 6 20 0 5 0 100 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, own: 150, reaped: 10 }));
    }

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 9 9 9 9 9 9 9 9 9 9\n"), Some(21));
        assert_eq!(busy("cpu  1 2 3"), None);
    }

    #[test]
    fn a_line_that_is_cut_short_is_refused() {
        assert_eq!(Stat::parse("42 (a) S 7 42"), None);
    }
}
