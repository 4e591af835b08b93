//! Whether a browser's page is ours (RT-08, D-63).

use std::net::IpAddr;

/// Names under which browsers may ask for the service, however its port is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames {
    names: Vec<String>,
    /// Names of which every name below them is one of ours, too.
    parents: Vec<String>,
}

impl HostNames {
    /// The hosts of `urls`, and everything below the hosts of `parents`.
    #[must_use]
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>, parents: impl IntoIterator<Item = &'a str>) -> Self {
        let host = |url: &str| name_of(url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default());
        Self { names: urls.into_iter().filter_map(host).collect(), parents: parents.into_iter().filter_map(host).collect() }
    }

    /// Whether a page that a browser loaded under this `Host` may be ours. A name that somebody else had point here for a
    /// moment is none of ours (DNS rebinding); an address is nobody's to point anywhere, nor is `localhost`.
    #[must_use]
    pub fn has(&self, host: &[u8]) -> bool {
        let Some(name) = std::str::from_utf8(host).ok().and_then(name_of) else { return false };
        let is_below = |parent: &String| name.strip_suffix(parent.as_str()).is_some_and(|label| label.ends_with('.'));
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        is_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || self.parents.iter().any(|parent| name == *parent || is_below(parent))
    }
}

/// The name in an authority, in small letters and without its port.
fn name_of(authority: &str) -> Option<String> {
    let authority = authority.trim();
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { authority.find(':').unwrap_or(authority.len()) };
    let name = authority[..end].trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

/// Whether `origin`, as a browser sends it, is the service itself: its public address, the very host
/// that was asked, or one of the `others` that the operator listed. Who sends no origin is no page of
/// another site.
#[must_use]
pub fn is_own(origin: Option<&[u8]>, host: Option<&[u8]>, app_url: &str, others: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    if is_listed(origin, app_url, others) {
        return true;
    }
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())))
}

/// Whether `origin` is the service's public address or one of the `others`, whatever host was asked.
#[must_use]
pub fn is_listed(origin: &[u8], app_url: &str, others: &[String]) -> bool {
    let public = app_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    origin.eq_ignore_ascii_case(public.as_bytes()) || others.iter().any(|other| origin.eq_ignore_ascii_case(other.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_may_point_here_are_not_ours() {
        let hosts = HostNames::new(["https://agents.example.com/base", "http://Console.example:5173"], ["teams.example"]);
        for own in [
            "agents.example.com",
            "AGENTS.example.com.:443",
            "console.example:1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "10.1.2.3",
            "localhost:3000",
            "raven.localhost",
            "acme.teams.example",
            "teams.example:443",
        ] {
            assert!(hosts.has(own.as_bytes()), "{own}");
        }
        for foreign in
            ["", ":80", "evil.example", "agents.example.com.evil", "notteams.example", "127.0.0.1.evil.example", "[::1", "localhost.evil"]
        {
            assert!(!hosts.has(foreign.as_bytes()), "{foreign}");
        }
        assert!(!hosts.has(b"\xff"));
    }

    #[test]
    fn only_our_own_pages_are_ours() {
        let app_url = "https://agents.example.com/base";
        let listed = ["http://localhost:5173".to_owned()];
        let own = |origin: &str| is_own(Some(origin.as_bytes()), Some(b"127.0.0.1:3000"), app_url, &listed);
        assert!(own("http://127.0.0.1:3000") && own("https://agents.example.com") && own("http://localhost:5173"));
        assert!(is_own(None, None, app_url, &listed));
        for foreign in
            ["http://evil.example", "null", "http://127.0.0.1:30001", "https://agents.example.com.evil", "https://localhost:5173", ""]
        {
            assert!(!own(foreign), "{foreign}");
        }
    }
}
