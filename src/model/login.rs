//! How a person logs an agent in, and which addresses of it a page may open.
//!
//! What a runtime says of a login is text off a screen: an agent can print any address, and clients
//! open the one in `loginUrl` without asking. So only an address where agents of the type are known to
//! log in is kept as one (RUN-03, RT-02); every other is text to read.

use serde::{Deserialize, Serialize};

use super::told::{TEXT_CHARS_MAX, readable};

/// Longest device code, in characters; known ones have eight or nine.
const CODE_CHARS_MAX: usize = 64;

/// Hosts where agents of a type log in. Others below the same names do not count: some show what anybody wrote.
const HOSTS: [(&str, &[&str]); 3] = [
    ("claude", &["claude.ai", "claude.com", "platform.claude.com", "anthropic.com", "console.anthropic.com"]),
    ("codex", &["openai.com", "auth.openai.com", "chatgpt.com"]),
    ("gemini", &["accounts.google.com", "google.com", "www.google.com"]),
];

/// What a runtime says of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginHint {
    /// What came where an address belongs; the original puts a sentence there.
    pub url: Option<String>,
    pub instructions: Option<String>,
    pub device_code: Option<String>,
}

/// How an agent is logged in, fit for a page. The serialised form has the members that clients know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Login {
    /// Leads to a host where agents of the type log in.
    #[serde(rename = "loginUrl", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_code: Option<String>,
    /// Whether there is an address, and it is known.
    pub verified: bool,
}

impl Login {
    /// Sorts what a runtime says of an agent of this canonical type: `more_hosts` are the operator's, which may
    /// be reached at any port and without TLS.
    #[must_use]
    pub fn of(hint: &LoginHint, agent_type: &str, more_hosts: &[String]) -> Self {
        let said = hint.url.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let address = said.and_then(web_address);
        let url = address.filter(|address| address.is_known(agent_type, more_hosts)).map(|address| address.text.to_owned());
        let mut lines: Vec<&str> = hint.instructions.iter().map(String::as_str).collect();
        if let Some(said) = said
            && url.is_none()
            && (address.is_some() || !has_scheme(said))
        {
            lines.push(said);
        }
        let instructions = readable(&lines.join("\n"), TEXT_CHARS_MAX);
        let device_code = hint.device_code.as_deref().and_then(|code| readable(code, CODE_CHARS_MAX));
        Self { verified: url.is_some(), url, instructions, device_code }
    }

    /// What is known once `later` was said, too: what it leaves out stays, unless it is about another login.
    #[must_use]
    pub fn completed_by(&self, later: Self) -> Self {
        let is_other = |known: &Option<String>, said: &Option<String>| known.is_some() && said.is_some() && known != said;
        if is_other(&self.url, &later.url) || is_other(&self.device_code, &later.device_code) {
            return later;
        }
        Self {
            verified: self.verified || later.verified,
            url: later.url.or_else(|| self.url.clone()),
            instructions: later.instructions.or_else(|| self.instructions.clone()),
            device_code: later.device_code.or_else(|| self.device_code.clone()),
        }
    }
}

/// An absolute http or https address, taken apart as far as matters here.
#[derive(Clone, Copy)]
struct WebAddress<'a> {
    text: &'a str,
    is_secure: bool,
    /// User name, host and port.
    authority: &'a str,
}

impl WebAddress<'_> {
    fn is_known(self, agent_type: &str, more_hosts: &[String]) -> bool {
        let of_type = HOSTS.iter().find(|(name, _)| *name == agent_type).map_or(&[][..], |(_, hosts)| *hosts);
        let (host, port) = self.authority.split_once(':').map_or((self.authority, None), |(host, port)| (host, Some(port)));
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let of_operator = more_hosts.iter().any(|known| host.eq_ignore_ascii_case(known));
        let is_plain = self.is_secure && port.is_none_or(|port| port == "443");
        is_host && is_port && (of_operator || (is_plain && of_type.iter().any(|known| host.eq_ignore_ascii_case(known))))
    }
}

/// Reads an absolute http or https address. One that browsers read differently from how it looks is none:
/// with spaces, control characters, backslashes or characters outside of ASCII.
fn web_address(text: &str) -> Option<WebAddress<'_>> {
    let after = |scheme: &str| text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &text[scheme.len()..]);
    let (is_secure, rest) = after("https://").map(|rest| (true, rest)).or_else(|| after("http://").map(|rest| (false, rest)))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_clean = text.len() <= TEXT_CHARS_MAX && text.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    (is_clean && !authority.is_empty()).then_some(WebAddress { text, is_secure, authority })
}

/// Whether the text is an address of some other kind, such as `javascript:` or `data:`: of no use to read.
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    scheme.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(agent_type: &str, url: &str) -> Login {
        Login::of(&LoginHint { url: Some(url.to_owned()), ..LoginHint::default() }, agent_type, &["sso.example.org".to_owned()])
    }

    #[test]
    fn an_address_is_kept_where_the_type_logs_in() {
        for (agent_type, url) in [
            ("claude", "https://claude.ai/oauth/authorize?code=true"),
            ("claude", "https://console.anthropic.com:443/login"),
            ("claude", "HTTPS://PLATFORM.CLAUDE.COM/x"),
            ("codex", "https://auth.openai.com/device"),
            ("gemini", "https://accounts.google.com/o/oauth2/auth?x=1#y"),
            ("custom", "http://sso.example.org:8080/start"),
        ] {
            let login = login(agent_type, url);
            assert_eq!((login.url.as_deref(), login.verified, login.instructions), (Some(url), true, None), "{url}");
        }
    }

    /// RUN-03: a look-alike is text to read, and nothing opens it.
    #[test]
    fn a_look_alike_is_text_only() {
        for url in [
            "https://claude.ai.evil.example/login",
            "https://evilclaude.ai/login",
            "https://claude.ai@evil.example/",
            "https://user:claude.ai@evil.example/",
            "https://claude.ai:8443/",
            "https://claude.ai:443@evil.example/",
            "http://claude.ai/",
            "https://xn--clude-7ta.ai/",
            "https://203.0.113.7/claude.ai",
            "https://[2001:db8::1]/",
            "https://auth.openai.com/device",
            "https://claude.ai./",
            "https://sites.claude.ai/",
            "https://a.sso.example.org/start",
        ] {
            let login = login("claude", url);
            assert_eq!((login.url, login.instructions.as_deref(), login.verified), (None, Some(url), false), "{url}");
        }
    }

    /// RUN-03: the original's sentence is instructions.
    #[test]
    fn a_sentence_is_instructions_and_another_scheme_is_nothing() {
        let said = login("claude", "Please run /login: it opens a page");
        assert_eq!((said.url, said.instructions.as_deref()), (None, Some("Please run /login: it opens a page")));
        for url in ["javascript:alert(1)", "data:text/html,x", "JavaScript:alert(1)//https://claude.ai/", "vbscript:x"] {
            assert_eq!(login("claude", url), Login::default(), "{url}");
        }
        for url in ["https://claude.ai\\@evil.example/", "https://cl\u{430}ude.ai/", "https://"] {
            assert_eq!(login("claude", url).url, None, "{url}");
        }
    }

    #[test]
    fn control_characters_and_lengths_are_bounded() {
        let hint = LoginHint {
            url: None,
            instructions: Some("a\u{1b}[31mb\r\nc".to_owned() + &"x".repeat(5_000)),
            device_code: Some(" ABCD-1234\u{7} ".to_owned()),
        };
        let login = Login::of(&hint, "codex", &[]);
        assert!(login.instructions.as_ref().is_some_and(|text| text.starts_with("a[31mb\nc") && text.len() == TEXT_CHARS_MAX));
        assert_eq!(login.device_code.as_deref(), Some("ABCD-1234"));
    }

    #[test]
    fn what_is_said_later_completes_a_login_or_begins_another() {
        let instructions = Login { instructions: Some("open the page".to_owned()), ..Login::default() };
        let address = Login { device_code: Some("A-1".to_owned()), ..login("claude", "https://claude.ai/x") };
        let both = instructions.completed_by(address.clone());
        assert_eq!(both, Login { instructions: instructions.instructions.clone(), ..address.clone() });
        for said in [Login::default(), instructions, address.clone()] {
            assert_eq!(both.completed_by(said), both, "nothing new");
        }
        let other = Login { device_code: Some("B-2".to_owned()), ..address };
        assert_eq!(both.completed_by(other.clone()), other, "nothing of another login is left");
    }

    #[test]
    fn the_stored_form_has_the_members_of_the_wire() {
        let login = login("claude", "https://claude.ai/x");
        let stored = serde_json::to_value(&login).unwrap();
        assert_eq!(stored, serde_json::json!({"loginUrl": "https://claude.ai/x", "verified": true}));
        assert_eq!(serde_json::from_value::<Login>(stored).unwrap(), login);
        assert_eq!(serde_json::from_str::<Login>(r#"{"loginUrl":null}"#).unwrap(), Login::default());
    }
}
