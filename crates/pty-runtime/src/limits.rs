//! How much one agent may use, and what holds it to that.
//!
//! Where the runtime has a cgroup (version 2) of its own, each agent gets a group below it: the
//! kernel holds all its processes together to its memory, its CPU time and their number. Elsewhere
//! the next best is done. `RLIMIT_DATA` bounds the memory that each process can write to; it counts
//! what is really writable, so V8, which reserves gigabytes of addresses, runs under it, whereas
//! `RLIMIT_AS` would end it. The processes share a set of as many CPUs as they may use. And the
//! supervisor adds up memory and processes of the session and ends an agent that is over its limit.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::note::note;

/// The least memory that a program can be expected to start in: 16 MiB.
const MEMORY_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// A hundredth of a CPU: the kernel gives out no shorter slices than 1 ms in 100 ms.
const CPUS_MIN: f64 = 0.01;
const CPUS_MAX: f64 = 4096.0;
const PROCESSES_MAX: u64 = 1_000_000;
/// In microseconds; the kernel's own default for `cpu.max`.
const CPU_PERIOD_MICROS: f64 = 100_000.0;
/// How long what was killed may take to leave its group, and how often that is looked at.
const GROUP_EMPTY_WITHIN: Duration = Duration::from_secs(1);
const GROUP_LOOK_EVERY: Duration = Duration::from_millis(10);
/// Group in which the runtime and its supervisors live, since a group with processes of its own
/// cannot have limited groups below it.
const OWN_GROUP: &str = "runtime";
/// What the names of agents' groups begin with.
const AGENT_GROUP: &str = "agent-";

/// What one agent, with everything that it starts, may use; `None` is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// CPUs' worth of time.
    pub cpus: Option<f64>,
    pub processes: Option<u32>,
}

impl Limits {
    /// What was asked for, at most `most`, and `most` where nothing was asked for.
    pub(crate) fn within(self, most: Self) -> Self {
        Self {
            memory_bytes: lesser(self.memory_bytes, most.memory_bytes),
            cpus: lesser(self.cpus, most.cpus),
            processes: lesser(self.processes, most.processes),
        }
    }

    fn any(self) -> bool {
        self != Self::default()
    }
}

fn lesser<T: PartialOrd>(asked: Option<T>, most: Option<T>) -> Option<T> {
    match (asked, most) {
        (Some(asked), Some(most)) => Some(if asked < most { asked } else { most }),
        (asked, most) => asked.or(most),
    }
}

/// Reads bytes as a number or as text such as `512Mi`, `2Gi`, `1.5G`. `None` unless at least 16 MiB.
pub(crate) fn memory(value: &Value) -> Option<u64> {
    let bytes = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => scaled(text.trim())?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (bytes >= MEMORY_BYTES_MIN).then_some(bytes)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was found to be positive and far below 2^63")]
fn scaled(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 9] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("k", 1e3),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1.0));
    let bytes = number.trim().parse::<f64>().ok()? * factor;
    (bytes.is_finite() && (0.0..1e18).contains(&bytes)).then_some(bytes as u64)
}

/// Reads CPUs as a number or as text such as `1.5` or `500m`.
pub(crate) fn cpus(value: &Value) -> Option<f64> {
    let cpus = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().strip_suffix('m') {
            Some(thousandths) => thousandths.parse::<f64>().ok()? / 1000.0,
            None => text.trim().parse().ok()?,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (CPUS_MIN..=CPUS_MAX).contains(&cpus).then_some(cpus)
}

/// Reads a number of processes.
pub(crate) fn processes(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    u32::try_from(number).ok().filter(|_| (1..=PROCESSES_MAX).contains(&number))
}

/// What holds an agent to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Means {
    Cgroup,
    Rlimit,
}

/// The limits in force and what enforces them; no means without a limit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Restraint {
    pub(crate) limits: Limits,
    pub(crate) by: Option<Means>,
}

/// The limits of one agent, made ready before its program starts.
pub(crate) struct Cage {
    pub(crate) restraint: Restraint,
    group: Option<Group>,
    #[cfg(target_os = "linux")]
    cpus: Option<libc::cpu_set_t>,
}

struct Group {
    folder: PathBuf,
    /// Opened for writing, because a child may only write between its fork and its program.
    members: File,
}

impl Cage {
    /// Makes a group named `name` below `cgroup`, or prepares what can be done without.
    pub(crate) fn new(limits: Limits, cgroup: Option<&Path>, name: &str) -> Self {
        let group = cgroup.filter(|_| limits.any()).and_then(|parent| {
            Group::new(limits, parent, name).inspect_err(|error| note(format_args!("no cgroup, so limits per process: {error}"))).ok()
        });
        if group.is_some() {
            let restraint = Restraint { limits, by: Some(Means::Cgroup) };
            #[cfg(target_os = "linux")]
            return Self { restraint, group, cpus: None };
            #[cfg(not(target_os = "linux"))]
            return Self { restraint, group };
        }
        #[cfg(target_os = "linux")]
        {
            let cpus = limits.cpus.and_then(share_of_cpus);
            let limits = Limits { cpus: cpus.as_ref().map(|(count, _)| f64::from(*count)), ..limits };
            let restraint = Restraint { limits, by: limits.any().then_some(Means::Rlimit) };
            Self { restraint, group: None, cpus: cpus.map(|(_, set)| set) }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let limits = Limits { cpus: None, processes: None, ..limits };
            Self { restraint: Restraint { limits, by: limits.any().then_some(Means::Rlimit) }, group: None }
        }
    }

    /// Puts the calling process into the cage. For a child between its fork and its program, so it
    /// allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "the standard library sets no limits")]
    pub(crate) fn enter(&self) -> io::Result<()> {
        if let Some(group) = &self.group {
            return (&group.members).write_all(b"0");
        }
        if let Some(bytes) = self.restraint.limits.memory_bytes {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            // SAFETY: the pointer is valid for reads during the call.
            if unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        #[cfg(target_os = "linux")]
        if let Some(cpus) = &self.cpus {
            // SAFETY: the pointer is valid for reads of the given size during the call.
            if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Limits that nobody but the supervisor enforces for the session as a whole.
    pub(crate) fn to_watch(&self) -> Limits {
        if self.group.is_some() { Limits::default() } else { self.restraint.limits }
    }

    /// Whether the kernel ended the group because it wanted more memory than it may have.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = self.group.as_ref().and_then(|group| fs::read_to_string(group.folder.join("memory.events")).ok());
        let killed = events.as_deref().and_then(|events| events.lines().find_map(|line| line.strip_prefix("oom_kill ")));
        killed.is_some_and(|count| count != "0")
    }

    /// Ends whatever is left in the group, if there is one, and removes it.
    pub(crate) fn tear_down(&self) {
        let Some(group) = &self.group else { return };
        let deadline = Instant::now() + GROUP_EMPTY_WITHIN;
        let mut removed = fs::write(group.folder.join("cgroup.kill"), "1").and_then(|()| fs::remove_dir(&group.folder));
        // What was killed takes a moment to leave.
        while removed.is_err() && group.folder.exists() && Instant::now() < deadline {
            thread::sleep(GROUP_LOOK_EVERY);
            removed = fs::remove_dir(&group.folder);
        }
        if let Err(error) = removed {
            note(format_args!("the group {} stays: {error}", group.folder.display()));
        }
    }
}

impl Group {
    fn new(limits: Limits, parent: &Path, name: &str) -> io::Result<Self> {
        let folder = parent.join(format!("{AGENT_GROUP}{name}"));
        fs::create_dir(&folder)?;
        let fill = || {
            if let Some(bytes) = limits.memory_bytes {
                fs::write(folder.join("memory.max"), bytes.to_string())?;
                // All of an agent ends together: half of one is of no use to anybody.
                fs::write(folder.join("memory.oom.group"), "1")?;
                // Hosts without swap, or without accounts of it, do not have this.
                let swap = folder.join("memory.swap.max");
                if swap.exists() {
                    fs::write(swap, "0")?;
                }
            }
            if let Some(cpus) = limits.cpus {
                fs::write(folder.join("cpu.max"), format!("{:.0} {CPU_PERIOD_MICROS:.0}", cpus * CPU_PERIOD_MICROS))?;
            }
            if let Some(processes) = limits.processes {
                fs::write(folder.join("pids.max"), processes.to_string())?;
            }
            File::options().write(true).open(folder.join("cgroup.procs"))
        };
        match fill() {
            Ok(members) => Ok(Self { folder, members }),
            Err(error) => {
                fs::remove_dir(&folder)?;
                Err(error)
            }
        }
    }
}

/// As many of the CPUs that this process may use as the limit comes to, rounded up, beginning at one
/// that differs from agent to agent; `None` where that cannot be known.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not tell which CPUs may be used")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a limit lies between 0.01 and 4096")]
fn share_of_cpus(limit: f64) -> Option<(u32, libc::cpu_set_t)> {
    // SAFETY: the set is plain data for which all zeroes is a valid value, and the pointer is valid
    // for writes of the given size during the call.
    let own = unsafe {
        let mut own: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut own) == 0).then_some(own)?
    };
    // SAFETY: the set is valid and every index lies within it.
    let usable: Vec<usize> = (0..8 * size_of::<libc::cpu_set_t>()).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &own) }).collect();
    let count = (limit.ceil() as usize).min(usable.len());
    let first = std::process::id() as usize;
    // SAFETY: as above.
    let share = unsafe {
        let mut share: libc::cpu_set_t = std::mem::zeroed();
        for step in 0..count {
            libc::CPU_SET(usable[(first + step) % usable.len()], &mut share);
        }
        share
    };
    Some((u32::try_from(count).ok()?, share))
}

/// The group that the system gave this process to divide: one of version 2 that an ordinary user
/// owns. Root owns them all, so there the operator has to name one.
pub(crate) fn delegated_cgroup() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new("/sys/fs/cgroup").join(own);
    let folder = if folder.ends_with(OWN_GROUP) { folder.parent()?.to_owned() } else { folder };
    let user = fs::metadata("/proc/self").ok()?.uid();
    let owner = fs::metadata(folder.join("cgroup.subtree_control")).ok()?.uid();
    (user != 0 && owner == user).then_some(folder)
}

/// Prepares `folder` for groups of agents: removes those whose agents are gone, moves this process out
/// of the way and switches the controllers on.
pub(crate) fn prepare_cgroup(folder: &Path) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    let own = std::process::id().to_string();
    for entry in fs::read_dir(folder)? {
        let group = entry?;
        if group.file_name().to_string_lossy().starts_with(AGENT_GROUP)
            && let Err(error) = fs::remove_dir(group.path())
        {
            tracing::trace!(%error, group = %group.path().display(), "group is in use");
        }
    }
    if fs::read_to_string(folder.join("cgroup.procs"))?.lines().any(|member| member == own) {
        let aside = folder.join(OWN_GROUP);
        if !aside.is_dir() {
            fs::create_dir(&aside)?;
        }
        fs::write(aside.join("cgroup.procs"), own)?;
    }
    fs::write(control, "+memory +pids +cpu")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        assert_eq!(memory(&json!("512Mi")), Some(512 << 20));
        assert_eq!(memory(&json!("2Gi")), Some(2 << 30));
        assert_eq!(memory(&json!("1.5G")), Some(1_500_000_000));
        assert_eq!(memory(&json!(33_554_432)), Some(32 << 20));
        for nonsense in [json!("2 apples"), json!(""), json!(-1), json!("1Ki"), json!("NaN"), json!("inf"), json!(null), json!([1])] {
            assert_eq!(memory(&nonsense), None, "{nonsense}");
        }
        assert_eq!((cpus(&json!("1.5")), cpus(&json!(2)), cpus(&json!("500m"))), (Some(1.5), Some(2.0), Some(0.5)));
        assert_eq!((cpus(&json!(0)), cpus(&json!("-1")), cpus(&json!("NaN"))), (None, None, None));
        assert_eq!((processes(&json!(64)), processes(&json!("64")), processes(&json!(0))), (Some(64), Some(64), None));
    }

    #[test]
    fn a_request_gets_no_more_than_the_operator_allows() {
        let most = Limits { memory_bytes: Some(100), cpus: Some(1.0), processes: None };
        let asked = Limits { memory_bytes: Some(200), cpus: None, processes: Some(5) };
        assert_eq!(asked.within(most), Limits { memory_bytes: Some(100), cpus: Some(1.0), processes: Some(5) });
    }
}
