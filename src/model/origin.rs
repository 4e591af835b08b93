//! Whether a browser's page is ours (RT-08, D-63).

/// Whether `origin`, as a browser sends it, is the service itself: its public address, the very host
/// that was asked, or one of the `others` that the operator listed. Who sends no origin is no page of
/// another site.
#[must_use]
pub fn is_own(origin: Option<&[u8]>, host: Option<&[u8]>, app_url: &str, others: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let same_host = authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())));
    let public = app_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    same_host || origin.eq_ignore_ascii_case(&public) || others.iter().any(|other| origin.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

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
