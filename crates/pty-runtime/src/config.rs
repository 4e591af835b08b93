//! Reads every setting once and reports all bad ones together.

use std::{
    env, fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use reqwest::Url;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::{
    adapter::Adapters,
    limits::{self, Limits},
};

/// Variables of the runtime's own environment that agents may see. Everything else stays here,
/// since it holds the runtime's token, the webhook secret and whatever the host's owner exported.
const INHERITED: [&str; 7] = ["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL"];

/// Variables that hold the runtime's own secrets: no setting hands them to agents.
const NEVER_INHERITED: [&str; 2] = ["RUNTIME_TOKEN", "PARALLAX_WEBHOOK_SECRET"];

const PROGRAM: &str = "raven-runtime";

/// How long an agent may live without a runtime, which alone could stop it.
const ORPHAN_TIMEOUT: Duration = Duration::from_hours(1);
/// How long a caller may wait for an agent's answer, in milliseconds: ten minutes at the most,
/// since each one who waits holds a connection.
pub(crate) const ANSWER_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=600_000;

/// Settings as they come from the command line or the environment, unchecked, so that
/// [`Config::from_settings`] can report every bad one in one go.
#[derive(Clone, Default, clap::Parser)]
#[command(name = "raven-runtime", version, about = "Runs agents in pseudo-terminals")]
pub struct Settings {
    /// TCP port to listen on; 0 takes any free one [default: $PORT, then 8081]
    #[arg(long, env = "RUNTIME_PORT")]
    pub port: Option<String>,
    /// Read when no other port is given
    #[arg(long, env = "PORT", hide = true)]
    pub fallback_port: Option<String>,
    /// Address to listen on; anything but loopback needs a token [default: 127.0.0.1]
    #[arg(long, env = "RUNTIME_HOST")]
    pub host: Option<String>,
    /// Bearer token that every request must carry (secret)
    #[arg(long, env = "RUNTIME_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the bearer token, instead of the token itself
    #[arg(long, env = "RUNTIME_TOKEN_FILE")]
    pub token_file: Option<String>,
    /// Agents that may live at once [default: 10]
    #[arg(long, env = "MAX_AGENTS")]
    pub max_agents: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, env = "LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Control plane that gets heartbeats; callbacks may go to its origin only
    #[arg(long, env = "CALLBACK_URL")]
    pub callback_url: Option<String>,
    /// Sent with every callback (secret)
    #[arg(long, env = "PARALLAX_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// How the control plane reaches this runtime [default: the address listened on]
    #[arg(long, env = "RUNTIME_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Folder that holds every agent's files [default: raven-runtime in the user's data folder]
    #[arg(long, env = "RUNTIME_WORKDIR_ROOT")]
    pub workdir_root: Option<String>,
    /// Commands that agents of type custom may run, separated by commas [default: bash,sh]
    #[arg(long, env = "RUNTIME_COMMANDS")]
    pub commands: Option<String>,
    /// Variables of the runtime's environment that agents see too, separated by commas
    #[arg(long, env = "RUNTIME_INHERIT_ENV")]
    pub inherit_env: Option<String>,
    /// true leaves agents running when the runtime is told to end; the next start takes them over [default: false]
    #[arg(long, env = "RUNTIME_KEEP_AGENTS")]
    pub keep_agents: Option<String>,
    /// Seconds that an agent may live without a runtime [default: 3600]
    #[arg(long, env = "RUNTIME_ORPHAN_TIMEOUT")]
    pub orphan_timeout: Option<String>,
    /// Memory that one agent may use, such as 2Gi [default: no limit]
    #[arg(long, env = "RUNTIME_AGENT_MEMORY")]
    pub agent_memory: Option<String>,
    /// CPUs that one agent may use, such as 1.5 [default: no limit]
    #[arg(long, env = "RUNTIME_AGENT_CPU")]
    pub agent_cpu: Option<String>,
    /// Processes that one agent may have [default: no limit]
    #[arg(long, env = "RUNTIME_AGENT_PROCESSES")]
    pub agent_processes: Option<String>,
    /// Folder of a cgroup (version 2) that the runtime may divide among agents [default: its own, if its user owns it]
    #[arg(long, env = "RUNTIME_CGROUP")]
    pub cgroup: Option<String>,
    /// Folder of adapters that are added to the built-in ones or replace them
    #[arg(long, env = "RUNTIME_ADAPTERS_DIR")]
    pub adapters_dir: Option<String>,
    /// Time for an agent's answer that a caller who names none waits for, in milliseconds [default: 60000]
    #[arg(long, env = "DEFAULT_TIMEOUT")]
    pub default_timeout: Option<String>,
}

/// Checked settings of one runtime.
#[derive(Clone, Debug)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
    /// Without one, only local programs are served: never a page in a browser.
    pub token: Option<Secret>,
    pub max_agents: usize,
    pub log_level: String,
    pub callback_url: Option<Url>,
    pub webhook_secret: Option<Secret>,
    /// `None` means the address that is listened on.
    pub public_url: Option<String>,
    pub workdir_root: PathBuf,
    /// The first one is what an agent of type `custom` runs when it names none.
    pub commands: Vec<String>,
    /// What is known of each kind of program.
    pub adapters: Adapters,
    /// How long a caller waits for an agent's answer who does not say it.
    pub answer_timeout: Duration,
    pub heartbeat_every: Duration,
    /// The part of the runtime's own environment that agents see.
    pub inherited_env: Vec<(String, String)>,
    /// The program `raven-runtime`, which supervises each agent.
    pub program: PathBuf,
    /// Whether agents outlive an orderly end of the runtime.
    pub keep_agents: bool,
    pub orphan_timeout: Duration,
    /// What an agent may use at the most, and where a request says nothing.
    pub agent_limits: Limits,
    /// Below which each agent that has limits gets a group of its own.
    pub cgroup: Option<PathBuf>,
}

impl Config {
    /// The defaults, on loopback and any free port, with agents' files under `workdir_root`.
    #[must_use]
    pub fn new(workdir_root: PathBuf) -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            token: None,
            max_agents: 10,
            log_level: "info".into(),
            callback_url: None,
            webhook_secret: None,
            public_url: None,
            workdir_root,
            commands: vec!["bash".into(), "sh".into()],
            adapters: Adapters::built_in(),
            answer_timeout: Duration::from_mins(1),
            heartbeat_every: Duration::from_secs(30),
            inherited_env: inherited_env(&[]),
            program: program_beside().unwrap_or_else(|| PathBuf::from(PROGRAM)),
            keep_agents: false,
            orphan_timeout: ORPHAN_TIMEOUT,
            agent_limits: Limits::default(),
            cgroup: None,
        }
    }

    /// Checks `settings` and fills in the defaults.
    ///
    /// # Errors
    /// [`BadSettings`] with one sentence for each setting that cannot be used.
    pub fn from_settings(settings: Settings) -> Result<Self, BadSettings> {
        let mut bad = Vec::new();
        let mut config = Self::new(PathBuf::new());
        config.port = 8081;
        let (port_name, port) = match given(settings.port) {
            Some(port) => ("RUNTIME_PORT", Some(port)),
            None => ("PORT", given(settings.fallback_port)),
        };
        if let Some(port) = port {
            match port.parse() {
                Ok(port) => config.port = port,
                Err(_) => bad.push(format!("{port_name} must be a port from 0 to 65535, got {port:?}")),
            }
        }
        if let Some(host) = given(settings.host) {
            match if host == "localhost" { "127.0.0.1" } else { &host }.parse() {
                Ok(host) => config.host = host,
                Err(_) => bad.push(format!("RUNTIME_HOST must be an IP address, got {host:?}")),
            }
        }
        let unread = bad.len();
        config.token = token(settings.token, settings.token_file, &mut bad);
        if config.token.is_none() && bad.len() == unread && !config.host.is_loopback() {
            bad.push(format!("RUNTIME_TOKEN must be set to listen on {}, since others can reach it", config.host));
        }
        if let Some(limit) = given(settings.max_agents) {
            match limit.parse() {
                Ok(limit @ 1..=1000) => config.max_agents = limit,
                _ => bad.push(format!("MAX_AGENTS must be a number from 1 to 1000, got {limit:?}")),
            }
        }
        if let Some(level) = given(settings.log_level) {
            match level.to_ascii_lowercase().as_str() {
                level @ ("error" | "warn" | "info" | "debug" | "trace") => config.log_level = level.into(),
                _ => bad.push(format!("LOG_LEVEL must be error, warn, info, debug or trace, got {level:?}")),
            }
        }
        if let Some(url) = given(settings.callback_url) {
            config.callback_url = web_address("CALLBACK_URL", &url, &mut bad);
        }
        config.webhook_secret = given(settings.webhook_secret).map(Secret::new);
        if let Some(url) = given(settings.public_url) {
            config.public_url = web_address("RUNTIME_PUBLIC_URL", &url, &mut bad).map(|_| url.trim_end_matches('/').to_owned());
        }
        match given(settings.workdir_root).map(PathBuf::from).or_else(data_folder) {
            Some(root) => config.workdir_root = root,
            None => bad.push("RUNTIME_WORKDIR_ROOT must be set, since the user has no home folder".into()),
        }
        if let Some(commands) = given(settings.commands) {
            config.commands = commands.split(',').map(str::trim).filter(|command| !command.is_empty()).map(Into::into).collect();
            if config.commands.is_empty() {
                bad.push(format!("RUNTIME_COMMANDS must name at least one command, got {commands:?}"));
            }
        }
        if let Some(names) = given(settings.inherit_env) {
            let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            if let Some(name) = names.iter().find(|name| NEVER_INHERITED.contains(name)) {
                bad.push(format!("RUNTIME_INHERIT_ENV must not name {name}, which is the runtime's own secret"));
            }
            config.inherited_env = inherited_env(&names);
        }
        if let Some(keep) = given(settings.keep_agents) {
            match keep.as_str() {
                "true" | "1" => config.keep_agents = true,
                "false" | "0" => {}
                _ => bad.push(format!("RUNTIME_KEEP_AGENTS must be true or false, got {keep:?}")),
            }
        }
        if let Some(seconds) = given(settings.orphan_timeout) {
            match seconds.parse() {
                Ok(seconds @ 1..=2_592_000) => config.orphan_timeout = Duration::from_secs(seconds),
                _ => bad.push(format!("RUNTIME_ORPHAN_TIMEOUT must be seconds from 1 to 2592000, got {seconds:?}")),
            }
        }
        config.agent_limits.memory_bytes =
            limit("RUNTIME_AGENT_MEMORY", "bytes such as 2Gi, 16Mi at the least", settings.agent_memory, limits::memory, &mut bad);
        config.agent_limits.cpus =
            limit("RUNTIME_AGENT_CPU", "a number of CPUs from 0.01 to 4096", settings.agent_cpu, limits::cpus, &mut bad);
        config.agent_limits.processes =
            limit("RUNTIME_AGENT_PROCESSES", "a number from 1 to 1000000", settings.agent_processes, limits::processes, &mut bad);
        config.cgroup = given(settings.cgroup).map(PathBuf::from).or_else(limits::delegated_cgroup);
        if let Some(folder) = given(settings.adapters_dir) {
            match Adapters::with_folder(folder.as_ref()) {
                Ok(adapters) => config.adapters = adapters,
                Err(reasons) => bad.extend(reasons.into_iter().map(|reason| format!("RUNTIME_ADAPTERS_DIR: {reason}"))),
            }
        }
        if let Some(timeout) = given(settings.default_timeout) {
            match timeout.parse() {
                Ok(millis) if ANSWER_TIMEOUT_MS.contains(&millis) => config.answer_timeout = Duration::from_millis(millis),
                _ => bad.push(format!("DEFAULT_TIMEOUT must be a whole number of milliseconds from 1 to 600000, got {timeout:?}")),
            }
        }
        if bad.is_empty() { Ok(config) } else { Err(BadSettings(bad)) }
    }
}

/// The token, from its variable or from its file.
fn token(token: Option<String>, file: Option<String>, bad: &mut Vec<String>) -> Option<Secret> {
    let (token, file) = (given(token), given(file));
    let Some(file) = file else {
        return token.map(Secret::new);
    };
    if token.is_some() {
        bad.push("RUNTIME_TOKEN_FILE must not be set together with RUNTIME_TOKEN".into());
        return None;
    }
    match std::fs::read_to_string(&file).map(|text| given(Some(text))) {
        Ok(Some(token)) => Some(Secret::new(token)),
        Ok(None) => {
            bad.push(format!("RUNTIME_TOKEN_FILE must name a file with a token, and {file:?} is empty"));
            None
        }
        Err(error) => {
            bad.push(format!("RUNTIME_TOKEN_FILE must name a file with a token, and {file:?} cannot be read: {error}"));
            None
        }
    }
}

fn limit<T>(
    name: &str,
    form: &str,
    setting: Option<String>,
    read: impl Fn(&serde_json::Value) -> Option<T>,
    bad: &mut Vec<String>,
) -> Option<T> {
    let text = given(setting)?;
    let limit = read(&json!(text));
    if limit.is_none() {
        bad.push(format!("{name} must be {form}, got {text:?}"));
    }
    limit
}

/// Tests run from a folder below the one in which programs are built.
fn program_beside() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    own.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

/// An empty variable means the same as none: compose files and unit files write it that way.
fn given(setting: Option<String>) -> Option<String> {
    setting.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn web_address(name: &str, text: &str, bad: &mut Vec<String>) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        bad.push(format!("{name} must be an http or https address, got {text:?}"));
    }
    url
}

fn data_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("raven-runtime"))
}

fn inherited_env(more: &[&str]) -> Vec<(String, String)> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| INHERITED.contains(&name.as_str()) || name.starts_with("LC_") || more.contains(&name.as_str()))
        .collect()
}

/// Every reason why the settings cannot be used, one sentence each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BadSettings(pub Vec<String>);

/// A token or shared secret, which never shows in logs.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Compares in a time that does not depend on where the first difference is.
    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_setting_is_reported_at_once() {
        let settings = Settings {
            port: Some("80a".into()),
            host: Some("0.0.0.0".into()),
            max_agents: Some("0".into()),
            log_level: Some("loud".into()),
            callback_url: Some("file:///etc/passwd".into()),
            workdir_root: Some("/tmp".into()),
            inherit_env: Some("HTTPS_PROXY, RUNTIME_TOKEN".into()),
            keep_agents: Some("maybe".into()),
            orphan_timeout: Some("0".into()),
            agent_memory: Some("lots".into()),
            agent_cpu: Some("-1".into()),
            agent_processes: Some("1.5".into()),
            ..Settings::default()
        };
        let BadSettings(reasons) = Config::from_settings(settings).unwrap_err();
        let named = [
            "RUNTIME_PORT",
            "RUNTIME_TOKEN",
            "MAX_AGENTS",
            "LOG_LEVEL",
            "CALLBACK_URL",
            "RUNTIME_INHERIT_ENV",
            "RUNTIME_KEEP_AGENTS",
            "RUNTIME_ORPHAN_TIMEOUT",
            "RUNTIME_AGENT_MEMORY",
            "RUNTIME_AGENT_CPU",
            "RUNTIME_AGENT_PROCESSES",
        ];
        assert_eq!(reasons.len(), named.len(), "{reasons:?}");
        assert!(named.iter().zip(&reasons).all(|(name, reason)| reason.starts_with(name)), "{reasons:?}");
    }

    #[test]
    fn the_runtimes_own_port_setting_wins_over_the_general_one() {
        let root = || Some("/tmp".to_owned());
        let port = |port: Option<&str>| {
            let settings =
                Settings { port: port.map(Into::into), fallback_port: Some("3100".into()), workdir_root: root(), ..Settings::default() };
            Config::from_settings(settings).unwrap().port
        };
        assert_eq!((port(Some("0")), port(Some("")), port(None)), (0, 3100, 3100));
    }

    #[test]
    fn a_token_comes_from_its_variable_or_from_its_file_and_never_from_both() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "of the file\n").unwrap();
        let token = |token: Option<&str>, file: &std::path::Path| {
            let file = Some(file.to_string_lossy().into_owned());
            let root = Some("/tmp".to_owned());
            Config::from_settings(Settings { token: token.map(Into::into), token_file: file, workdir_root: root, ..Settings::default() })
        };
        assert!(token(None, &file).unwrap().token.unwrap().is(b"of the file"));
        for bad in [token(Some("other"), &file), token(None, &folder.path().join("none"))] {
            let BadSettings(reasons) = bad.unwrap_err();
            assert!(reasons.len() == 1 && reasons[0].starts_with("RUNTIME_TOKEN_FILE"), "{reasons:?}");
        }
    }

    #[test]
    fn a_secret_never_shows() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }
}
