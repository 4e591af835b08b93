//! Sets up the log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What libraries may say at the most, whatever level is asked for (D-50). Below it the server of MCP writes down requests
/// and results, and the sockets their handshakes and packets: arguments, pages, tokens and keystrokes. At `info` the former
/// has three lines for each call. What Postgres notes of an "IF NOT EXISTS" is news to nobody.
const LIBRARIES: &str = "rmcp=error,socketioxide=warn,engineioxide=warn,tungstenite=info,tokio_tungstenite=info,sqlx=warn";

/// Starts logging to standard error. `level` is a level or a filter such as `info,raven_agents=debug`.
pub fn start(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(format!("{level},{LIBRARIES}")).unwrap_or_else(|_| EnvFilter::new(format!("info,{LIBRARIES}")));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(colours).with_writer(std::io::stderr);
    // Fails only when something has set up a log already, which then stays.
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(error, "the log was set up before");
    }
}
