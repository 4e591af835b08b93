//! Reads the environment once and reports every bad setting together.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use chrono::TimeDelta;
use ipnet::IpNet;

/// Where a setting's text comes from: the environment, but for tests.
pub type Source<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `APP_SECRET` signs tokens and seals secrets; below this it could be guessed.
const APP_SECRET_CHARS_MIN: usize = 32;

/// One connection waits for events all the time; requests and workers need at least two more.
const CONNECTIONS_MIN: u32 = 3;

/// A person who may no longer come in is out of every socket after this at the latest (RT-09).
const SOCKET_CHECK_EVERY: Duration = Duration::from_secs(30);

/// Tool calls that wait for approval unless `MCP_APPROVAL_METHODS` says otherwise (REST contract §5.6).
const SENSITIVE_METHODS: [&str; 8] = [
    "workspace.delete",
    "workspace.removeMember",
    "space.delete",
    "page.delete",
    "project.delete",
    "task.delete",
    "attachment.delete",
    "group.delete",
];

/// Days that the activity feed is kept: a year, as auditors ask for.
const ACTIVITY_DAYS: u16 = 365;

/// Days that recordings of terminals are kept at the most, and megabytes of them per workspace.
const RECORDING_DAYS: u16 = 90;
const RECORDING_MEGABYTES: u32 = 10_240;

/// Characters below which a shared secret could be guessed.
const SHARED_SECRET_CHARS_MIN: usize = 16;

/// A factor beyond this is the same as no limits.
const RATE_FACTOR_MAX: u32 = 1000;

/// A budget of requests: `at_once`, and `per_minute` for as long as it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub at_once: u32,
    pub per_minute: u32,
}

impl Quota {
    const fn new(at_once: u32, per_minute: u32) -> Self {
        Self { at_once, per_minute }
    }

    const fn times(self, factor: u32) -> Self {
        Self::new(self.at_once.saturating_mul(factor), self.per_minute.saturating_mul(factor))
    }
}

/// How many requests are taken (D-58). The numbers are no settings: `RATE_LIMITS` scales them all, and
/// tests choose their own. An address is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// All of `/api` from one address: twenty agents behind it, each at the full speed of its key.
    pub api_by_address: Quota,
    /// Sign-ins from one address: an office that comes to work. 60 hashes take some fifteen seconds of a core.
    pub login_by_address: Quota,
    /// Sign-ins to one account from one address that fail: somebody who mistypes; 7,200 guesses a day at the most.
    pub login_by_account: Quota,
    /// Sign-ins to one account from all addresses but those from which its owner came in before: a
    /// flood from many addresses is slowed, and the next try is never further away than a second.
    pub login_by_account_anywhere: Quota,
    /// Attempts to set up from one address: it is done once.
    pub set_up_by_address: Quota,
    /// Registrations of API keys from one address: scripts make a few.
    pub key_registration_by_address: Quota,
    /// Access requests and registrations from one address: a fleet that starts at once, and then as
    /// many in a minute as three workspaces take in all by default.
    pub admission_by_address: Quota,
    /// Access requests of one workspace, registrations with one invite: several hosts that start at once.
    pub admission_by_workspace: Quota,
    /// Calls with a wrong key or webhook secret from one address: five agents that go on with revoked keys.
    pub refused_by_address: Quota,
    /// Calls with the same wrong key or secret from one address: an agent that has not heard of its
    /// revocation, and that must not use up what its address has for others.
    pub refused_by_credential: Quota,
    /// Tool calls with one key: thirty a second, far beyond what an agent that thinks in between makes.
    pub calls_by_key: Quota,
    /// Connections from one address: two hundred browsers behind it, each with some requests and sockets.
    pub connections_by_address: u32,
    /// Socket.io connections from one address at once; a page has one and another for each terminal.
    pub sockets_by_address: u32,
    /// Sockets of one person at once, in all namespaces: thirty pages with a terminal each.
    pub sockets_by_person: u32,
    /// Sockets opened with one API key at once: an agent needs one.
    pub sockets_by_key: u32,
    /// Sockets attached to one terminal at once.
    pub viewers_by_session: u32,
    /// Events of one socket: a paste in pieces and keys that repeat fit in, and five hundred a second are ten times
    /// what somebody does with a mouse.
    pub events_by_socket: Quota,
}

impl RateLimits {
    /// What holds unless `RATE_LIMITS` says otherwise.
    pub const DEFAULT: Self = Self {
        api_by_address: Quota::new(6_000, 36_000),
        login_by_address: Quota::new(60, 60),
        login_by_account: Quota::new(10, 5),
        login_by_account_anywhere: Quota::new(60, 60),
        set_up_by_address: Quota::new(10, 10),
        key_registration_by_address: Quota::new(10, 10),
        admission_by_address: Quota::new(120, 60),
        admission_by_workspace: Quota::new(240, 120),
        refused_by_address: Quota::new(60, 60),
        refused_by_credential: Quota::new(10, 10),
        calls_by_key: Quota::new(300, 1_800),
        connections_by_address: 1_000,
        sockets_by_address: 200,
        sockets_by_person: 100,
        sockets_by_key: 20,
        viewers_by_session: 500,
        events_by_socket: Quota::new(4_000, 30_000),
    };

    /// Every budget that many times as large.
    #[must_use]
    pub const fn times(&self, factor: u32) -> Self {
        Self {
            api_by_address: self.api_by_address.times(factor),
            login_by_address: self.login_by_address.times(factor),
            login_by_account: self.login_by_account.times(factor),
            login_by_account_anywhere: self.login_by_account_anywhere.times(factor),
            set_up_by_address: self.set_up_by_address.times(factor),
            key_registration_by_address: self.key_registration_by_address.times(factor),
            admission_by_address: self.admission_by_address.times(factor),
            admission_by_workspace: self.admission_by_workspace.times(factor),
            refused_by_address: self.refused_by_address.times(factor),
            refused_by_credential: self.refused_by_credential.times(factor),
            calls_by_key: self.calls_by_key.times(factor),
            connections_by_address: self.connections_by_address.saturating_mul(factor),
            sockets_by_address: self.sockets_by_address.saturating_mul(factor),
            sockets_by_person: self.sockets_by_person.saturating_mul(factor),
            sockets_by_key: self.sockets_by_key.saturating_mul(factor),
            viewers_by_session: self.viewers_by_session.saturating_mul(factor),
            events_by_socket: self.events_by_socket.times(factor),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A runtime that the service may use.
#[derive(Clone)]
pub struct RuntimeSettings {
    pub endpoint: String,
    pub token: Option<String>,
}

/// What the dropped-in client is told of other services; it has defaults of its own.
#[derive(Clone)]
pub struct ClientAddresses {
    pub file_upload_size_limit: Option<String>,
    pub drawio_url: Option<String>,
    pub subdomain_host: Option<String>,
    pub collab_url: Option<String>,
}

/// Everything that can be set. `.env.example` describes each with its default and unit.
#[derive(Clone)]
pub struct Config {
    pub database_url: Option<String>,
    pub database_connections_max: u32,
    pub postgres_bin: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub host: IpAddr,
    pub port: u16,
    /// Public address of this service, without a slash at its end; from host and port if unset.
    pub app_url: Option<String>,
    pub app_secret: Option<String>,
    pub token_lifetime: TimeDelta,
    /// Whether the host name chooses the workspace.
    pub cloud: bool,
    /// Origins beside our own whose pages may use the service from a browser.
    pub cors_origins: Vec<String>,
    /// Proxies that are believed when they say in `X-Forwarded-For` whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// `None`: there are no limits.
    pub rate_limits: Option<RateLimits>,
    /// A built client that is served instead of the console.
    pub client_dir: Option<PathBuf>,
    pub client: ClientAddresses,
    pub runtime: Option<RuntimeSettings>,
    /// Where `up` has its own runtime listen.
    pub runtime_port: u16,
    /// Origins where a workspace may have a runtime of its own.
    pub runtime_origins: Vec<String>,
    /// Hosts where agents of any type may log in.
    pub login_hosts: Vec<String>,
    pub webhook_secret: Option<String>,
    /// Base URL of the control plane that is told of decisions.
    pub control_plane: Option<String>,
    pub key_registration_token: Option<String>,
    /// Whether sensitive tool calls wait for a person's approval, and which do.
    pub tool_approvals_enabled: bool,
    pub tool_approval_methods: Vec<String>,
    /// How long the activity feed and its daily counts are kept; `None` is for ever.
    pub activity_kept: Option<TimeDelta>,
    pub activity_daily_kept: Option<TimeDelta>,
    /// How long recordings of terminals are kept at the most; `None`: as long as the workspace says.
    pub recordings_kept: Option<TimeDelta>,
    /// What the recordings of one workspace may take at the most.
    pub recording_megabytes_max: u32,
    pub agents_per_workspace_max: u32,
    pub agent_key_prefix: String,
    pub log_level: String,
    pub log_format: LogFormat,
    /// How often an open socket's credential is checked again. No setting: only tests are impatient.
    pub socket_check_every: Duration,
}

/// Every setting that cannot be used, a sentence each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BadSettings(pub Vec<String>);

/// Names of all settings, as in `.env.example`.
pub const SETTINGS: [&str; 53] = [
    "DATABASE_URL",
    "DATABASE_MAX_POOL",
    "RAVEN_PG_BIN",
    "RAVEN_DATA_DIR",
    "HOST",
    "PORT",
    "APP_URL",
    "APP_SECRET",
    "JWT_TOKEN_EXPIRES_IN",
    "CLOUD",
    "CORS_ORIGINS",
    "TRUSTED_PROXIES",
    "RATE_LIMITS",
    "CLIENT_DIR",
    "FILE_UPLOAD_SIZE_LIMIT",
    "DRAWIO_URL",
    "SUBDOMAIN_HOST",
    "COLLAB_URL",
    "AGENT_RUNTIME_ENDPOINT",
    "AGENT_RUNTIME_TOKEN",
    "AGENT_RUNTIME_ALLOWED_ORIGINS",
    "AGENT_LOGIN_HOSTS",
    "RUNTIME_PORT",
    "RUNTIME_HOST",
    "RUNTIME_TOKEN",
    "RUNTIME_TOKEN_FILE",
    "RUNTIME_COMMANDS",
    "RUNTIME_ADAPTERS_DIR",
    "DEFAULT_TIMEOUT",
    "RUNTIME_WORKDIR_ROOT",
    "RUNTIME_INHERIT_ENV",
    "RUNTIME_KEEP_AGENTS",
    "RUNTIME_ORPHAN_TIMEOUT",
    "RUNTIME_AGENT_MEMORY",
    "RUNTIME_AGENT_CPU",
    "RUNTIME_AGENT_PROCESSES",
    "RUNTIME_CGROUP",
    "MAX_AGENTS",
    "CALLBACK_URL",
    "RUNTIME_PUBLIC_URL",
    "PARALLAX_WEBHOOK_SECRET",
    "PARALLAX_CONTROL_PLANE_URL",
    "API_KEY_REGISTRATION_TOKEN",
    "MCP_APPROVAL_ENABLED",
    "MCP_APPROVAL_METHODS",
    "ACTIVITY_RETENTION_DAYS",
    "ACTIVITY_DAILY_RETENTION_DAYS",
    "RECORDING_KEEP_DAYS",
    "RECORDING_MAX_MEGABYTES",
    "PARALLAX_MAX_AGENTS_PER_WORKSPACE",
    "PARALLAX_AGENT_KEY_PREFIX",
    "LOG_LEVEL",
    "LOG_FORMAT",
];

/// Reads settings and gathers what is wrong with them.
struct Reader<'a> {
    source: Source<'a>,
    bad: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.source)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: T, what: &str) -> T {
        let Some(text) = self.text(name) else { return default };
        text.parse().unwrap_or_else(|_| self.refuse(name, &format!("must be {what}, got {text:?}"), default))
    }

    /// What stands between commas, each of which `read` must understand.
    fn list<T>(&mut self, name: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let text = self.text(name).unwrap_or_default();
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match read(item) {
                Some(value) => items.push(value),
                None => self.refuse(name, &format!("must be {what}, separated by commas, got {item:?}"), ()),
            }
        }
        items
    }

    /// A number of days; 0 is for ever.
    fn days(&mut self, name: &str, default: u16) -> Option<TimeDelta> {
        let days = self.parsed(name, default, "a whole number of days up to 65535, 0 for ever");
        (days > 0).then(|| TimeDelta::days(days.into()))
    }

    fn refuse<T>(&mut self, name: &str, why: &(impl Display + ?Sized), instead: T) -> T {
        self.bad.push(format!("{name} {why}"));
        instead
    }
}

impl Config {
    /// Reads every setting.
    ///
    /// Errors: [`BadSettings`], all of them together.
    pub fn read(source: Source) -> Result<Self, BadSettings> {
        let mut reader = Reader { source, bad: Vec::new() };
        let config = Self {
            database_url: reader.text("DATABASE_URL"),
            database_connections_max: reader.parsed("DATABASE_MAX_POOL", 10, "a whole number of connections"),
            postgres_bin: reader.text("RAVEN_PG_BIN").map(Into::into),
            data_dir: reader.text("RAVEN_DATA_DIR").map(Into::into),
            host: reader.parsed("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST), "an IP address such as 127.0.0.1"),
            port: reader.parsed("PORT", 3000, "a port number"),
            app_url: reader.text("APP_URL").map(|url| url.trim_end_matches('/').to_owned()),
            app_secret: reader.text("APP_SECRET"),
            token_lifetime: TimeDelta::days(30),
            cloud: reader.parsed("CLOUD", false, "true or false"),
            cors_origins: reader.list("CORS_ORIGINS", "origins such as https://raven.example.com", web_origin),
            trusted_proxies: reader.list("TRUSTED_PROXIES", "IP addresses or networks such as 10.0.0.0/8", network),
            rate_limits: Some(RateLimits::DEFAULT),
            client_dir: reader.text("CLIENT_DIR").map(Into::into),
            client: ClientAddresses {
                file_upload_size_limit: reader.text("FILE_UPLOAD_SIZE_LIMIT"),
                drawio_url: reader.text("DRAWIO_URL"),
                subdomain_host: reader.text("SUBDOMAIN_HOST"),
                collab_url: reader.text("COLLAB_URL"),
            },
            runtime: reader.text("AGENT_RUNTIME_ENDPOINT").map(|endpoint| RuntimeSettings { endpoint, token: None }),
            runtime_port: reader.parsed("RUNTIME_PORT", 8081, "a port number"),
            runtime_origins: reader.list("AGENT_RUNTIME_ALLOWED_ORIGINS", "origins such as https://runtime.example.com", web_origin),
            login_hosts: reader.list("AGENT_LOGIN_HOSTS", "host names such as login.example.com", host_name),
            webhook_secret: reader.text("PARALLAX_WEBHOOK_SECRET"),
            control_plane: reader.text("PARALLAX_CONTROL_PLANE_URL"),
            key_registration_token: reader.text("API_KEY_REGISTRATION_TOKEN"),
            tool_approvals_enabled: reader.parsed("MCP_APPROVAL_ENABLED", true, "true or false"),
            tool_approval_methods: reader.list("MCP_APPROVAL_METHODS", "names such as page.delete", method_name),
            activity_kept: reader.days("ACTIVITY_RETENTION_DAYS", ACTIVITY_DAYS),
            activity_daily_kept: reader.days("ACTIVITY_DAILY_RETENTION_DAYS", 0),
            recordings_kept: reader.days("RECORDING_KEEP_DAYS", RECORDING_DAYS),
            recording_megabytes_max: reader.parsed("RECORDING_MAX_MEGABYTES", RECORDING_MEGABYTES, "a whole number of megabytes"),
            agents_per_workspace_max: reader.parsed("PARALLAX_MAX_AGENTS_PER_WORKSPACE", 20, "a whole number of agents"),
            agent_key_prefix: reader.text("PARALLAX_AGENT_KEY_PREFIX").unwrap_or_else(|| "mcp_agent_".to_owned()),
            log_level: reader.text("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
            log_format: LogFormat::Text,
            socket_check_every: SOCKET_CHECK_EVERY,
        };
        config.check(reader)
    }

    fn check(mut self, mut reader: Reader) -> Result<Self, BadSettings> {
        if let Some(text) = reader.text("JWT_TOKEN_EXPIRES_IN") {
            let what = "must be a duration such as 30d, 12h or 3600 (seconds)";
            self.token_lifetime = duration(&text)
                .unwrap_or_else(|| reader.refuse("JWT_TOKEN_EXPIRES_IN", &format!("{what}, got {text:?}"), self.token_lifetime));
        }
        self.rate_limits = match reader.text("RATE_LIMITS").as_deref() {
            None | Some("on") => Some(1),
            Some("off") => None,
            Some(text) => Some(text.parse().ok().filter(|factor| (1..=RATE_FACTOR_MAX).contains(factor)).unwrap_or_else(|| {
                let why = format!("must be on, off, or how many times as wide they are, from 1 to {RATE_FACTOR_MAX}, got {text:?}");
                reader.refuse("RATE_LIMITS", &why, 1)
            })),
        }
        .map(|factor| RateLimits::DEFAULT.times(factor));
        match reader.text("LOG_FORMAT").as_deref() {
            None | Some("text") => {}
            Some("json") => self.log_format = LogFormat::Json,
            Some(other) => reader.refuse("LOG_FORMAT", &format!("must be text or json, got {other:?}"), ()),
        }
        if self.app_secret.as_ref().is_some_and(|secret| secret.chars().count() < APP_SECRET_CHARS_MIN) {
            reader.refuse("APP_SECRET", &format!("must have at least {APP_SECRET_CHARS_MIN} characters"), ());
        }
        if let Some(url) = &self.app_url
            && !is_web_address(url)
        {
            reader.refuse("APP_URL", &format!("must be an absolute http or https URL, got {url:?}"), ());
        }
        if let Some(folder) = &self.client_dir
            && !folder.join("index.html").is_file()
        {
            let why = format!("must be a folder with a built client and its index.html, got {:?}", folder.display().to_string());
            reader.refuse("CLIENT_DIR", &why, ());
        }
        for (name, url) in [("DRAWIO_URL", &self.client.drawio_url), ("COLLAB_URL", &self.client.collab_url)] {
            if let Some(url) = url
                && !is_web_address(url)
            {
                reader.refuse(name, &format!("must be an absolute http or https URL, got {url:?}"), ());
            }
        }
        if let Some(runtime) = &mut self.runtime {
            runtime.token = reader.text("AGENT_RUNTIME_TOKEN");
            if !is_web_address(&runtime.endpoint) {
                let why = format!("must be an absolute http or https URL such as http://127.0.0.1:8081, got {:?}", runtime.endpoint);
                reader.refuse("AGENT_RUNTIME_ENDPOINT", &why, ());
            }
        }
        if self.tool_approval_methods.is_empty() {
            self.tool_approval_methods = SENSITIVE_METHODS.map(str::to_owned).to_vec();
        }
        if let Some(url) = &self.control_plane
            && !is_web_address(url)
        {
            reader.refuse("PARALLAX_CONTROL_PLANE_URL", &format!("must be an absolute http or https URL, got {url:?}"), ());
        }
        if self.control_plane.as_ref().is_some_and(|url| !url.starts_with("https://") && !is_on_this_machine(url)) {
            // The shared secret goes along with every notification (D-20).
            reader.refuse("PARALLAX_CONTROL_PLANE_URL", "must be https, unless the control plane is on this machine", ());
        }
        if self.key_registration_token.as_ref().is_some_and(|token| token.chars().count() < SHARED_SECRET_CHARS_MIN) {
            reader.refuse("API_KEY_REGISTRATION_TOKEN", &format!("must have at least {SHARED_SECRET_CHARS_MIN} characters"), ());
        }
        if let Some(url) = &self.database_url
            && let Err(error) = sqlx::postgres::PgConnectOptions::from_str(url)
        {
            // The URL itself may hold a password, so it is not shown.
            reader.refuse("DATABASE_URL", &format!("must look like postgres://user@host:5432/name ({error})"), ());
        }
        if self.database_connections_max < CONNECTIONS_MIN {
            reader.refuse("DATABASE_MAX_POOL", &format!("must be at least {CONNECTIONS_MIN}"), ());
        }
        if reader.bad.is_empty() { Ok(self) } else { Err(BadSettings(reader.bad)) }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Public address of this service, without a slash at its end. One that listens everywhere is
    /// reached on this machine, as long as nobody says where else.
    #[must_use]
    pub fn public_url(&self) -> String {
        let reachable = if self.host.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.host };
        self.app_url.clone().unwrap_or_else(|| format!("http://{}", SocketAddr::new(reachable, self.port)))
    }
}

/// Names that start like ours and mean nothing: a misspelt setting does not go unseen.
pub fn unknown_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| name.starts_with("RAVEN_") && !SETTINGS.contains(name)).collect()
}

fn is_web_address(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

/// Reads an origin as browsers send it.
fn web_origin(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok().filter(|_| is_web_address(text))?;
    let bare =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    bare.then(|| url.origin().ascii_serialization())
}

/// Reads a host name, without scheme and port.
fn host_name(text: &str) -> Option<String> {
    let is_name =
        text.contains(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    is_name.then(|| text.to_ascii_lowercase())
}

/// Reads a network, or an address as the network of that address alone.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_on_this_machine(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn method_name(text: &str) -> Option<String> {
    let plain = text.strip_suffix('*').unwrap_or(text).chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    plain.then(|| text.to_owned())
}

/// Reads `30d`, `12h`, `15m`, `45s` or a plain number of seconds.
fn duration(text: &str) -> Option<TimeDelta> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().ok().filter(|number| (1..=3_153_600_000).contains(number))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        "w" => 604_800,
        _ => return None,
    };
    TimeDelta::try_seconds(number.checked_mul(seconds)?).filter(|lifetime| *lifetime <= TimeDelta::days(36500))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, BadSettings> {
        Config::read(&|name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = read(&[]).ok().unwrap();
        assert_eq!(config.public_url(), "http://127.0.0.1:3000");
        assert_eq!((config.runtime_port, config.agents_per_workspace_max), (8081, 20));
    }

    #[test]
    fn all_bad_settings_are_reported_together_and_no_secret_with_them() {
        let bad = read(&[
            ("PORT", "http"),
            ("APP_SECRET", "too-short"),
            ("AGENT_RUNTIME_ENDPOINT", "host:1"),
            ("DATABASE_URL", "postgres://u:hunter2@host:notaport/db"),
            ("JWT_TOKEN_EXPIRES_IN", "soon"),
            ("LOG_FORMAT", "xml"),
            ("CORS_ORIGINS", "https://raven.example.com,*"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.local"),
            ("RATE_LIMITS", "0"),
        ]);
        let text = bad.err().unwrap().to_string();
        for name in ["PORT", "APP_SECRET", "AGENT_RUNTIME_ENDPOINT", "DATABASE_URL", "JWT_TOKEN_EXPIRES_IN", "LOG_FORMAT"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        for name in ["CORS_ORIGINS", "TRUSTED_PROXIES", "RATE_LIMITS"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert!(text.contains("\"*\"") && text.contains("proxy.local"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("too-short"), "{text}");
    }

    #[test]
    fn origins_proxies_and_limits_are_read_as_they_are_written() {
        let config = read(&[
            ("CORS_ORIGINS", "http://localhost:5173/, HTTPS://Raven.Example.com:443"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("RATE_LIMITS", "3"),
        ]);
        let config = config.ok().unwrap();
        assert_eq!(config.cors_origins, ["http://localhost:5173", "https://raven.example.com"]);
        assert_eq!(config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
        assert_eq!(config.rate_limits.unwrap().login_by_account, Quota::new(30, 15));
        assert_eq!(read(&[("RATE_LIMITS", "off")]).ok().unwrap().rate_limits, None);
        for bad in ["null", "https://a.example/path", "ftp://a.example", "https://user@a.example", "https://a.example?x"] {
            assert!(web_origin(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_the_original_does() {
        assert_eq!(duration("30d"), Some(TimeDelta::days(30)));
        assert_eq!(duration("3600"), Some(TimeDelta::hours(1)));
        for bad in ["", "d", "-1d", "1y2", "99999999999999w"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_example_file_names_every_setting() {
        let example = include_str!("../.env.example");
        let named: Vec<&str> =
            example.lines().filter_map(|line| line.trim_start_matches("# ").split_once('=')).map(|(name, _)| name).collect();
        for name in SETTINGS {
            assert!(named.contains(&name), ".env.example lacks {name}");
        }
        for name in named.iter().filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')) {
            assert!(SETTINGS.contains(name), ".env.example names {name}, which nothing reads");
        }
    }

    #[test]
    fn misspelt_names_of_ours_are_found() {
        assert_eq!(unknown_names(["RAVEN_DATADIR", "RAVEN_DATA_DIR", "PATH"].into_iter()), ["RAVEN_DATADIR"]);
    }
}
