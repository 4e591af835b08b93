//! What can be seen of a runtime's processes when it runs on this host.

use std::{fs, path::Path};

use super::client::origin_of;

/// Whether an endpoint is on this host.
#[must_use]
pub fn is_this(endpoint: &str) -> bool {
    let Some((origin, address)) = origin_of(endpoint) else { return false };
    address.is_some_and(|address| address.is_loopback())
        || origin.split("//").nth(1).is_some_and(|host| host.split(':').next() == Some("localhost"))
}

/// Whether the process of this id lives, as far as it can be seen: not for a runtime elsewhere, and not on
/// systems without `/proc`.
#[must_use]
pub fn process_lives(endpoint: &str, pid: Option<u32>) -> Option<bool> {
    let pid = pid.filter(|_| is_this(endpoint) && Path::new("/proc/self/stat").exists())?;
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return Some(false) };
    // The state is the first field behind the name, which is in parentheses and may have any character (proc(5)).
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    Some(!matches!(state, Some('Z' | 'X')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_is_this_host() {
        assert!(is_this("http://127.0.0.1:9876/base") && is_this("http://[::1]:1") && is_this("http://localhost:1"));
        assert!(!is_this("http://192.0.2.1:1") && !is_this("https://localhost.example:1") && !is_this("nonsense"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_of_this_host_is_seen_and_no_other() {
        let own = Some(std::process::id());
        assert_eq!(process_lives("http://127.0.0.1:1", own), Some(true));
        assert_eq!(process_lives("http://127.0.0.1:1", Some(u32::MAX)), Some(false));
        assert_eq!(process_lives("http://192.0.2.1:1", own), None);
        assert_eq!(process_lives("http://127.0.0.1:1", None), None);
    }
}
