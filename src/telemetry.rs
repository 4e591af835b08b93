//! Sets up the log.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging to standard error. `level` is a level or a filter such as `info,raven_agents=debug`.
pub fn start(level: &str, format: LogFormat) {
    // What Postgres notes of an "IF NOT EXISTS" is news to nobody, and a traced handshake would show a token.
    let filter =
        EnvFilter::try_new(format!("{level},sqlx=warn,tungstenite=info,tokio_tungstenite=info")).unwrap_or_else(|_| EnvFilter::new("info"));
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
