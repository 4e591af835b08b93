//! The runtime as a program: settings in, one runtime up, until a signal ends it.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use pty_runtime::{Config, Runtime, Settings};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

fn main() -> anyhow::Result<ExitCode> {
    // The part that stays beside one agent. It is started by the runtime only, and is small: so
    // neither the command line's help nor the runtime's threads are for it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "supervise") {
        return Ok(pty_runtime::supervise());
    }
    // Before agents can be there to look.
    pty_runtime::keep_to_itself();
    pty_runtime::raise_open_files();
    serve()
}

#[tokio::main]
async fn serve() -> anyhow::Result<ExitCode> {
    let mut config = match Config::from_settings(Settings::parse()) {
        Ok(config) => config,
        Err(bad) => {
            eprintln!("{bad}");
            return Ok(ExitCode::from(2));
        }
    };
    config.program = std::env::current_exe()?;
    let colours = std::io::stdout().is_terminal();
    // A log that cannot be written any more must not end what runs here.
    tracing_subscriber::fmt().with_env_filter(&config.log_level).with_ansi(colours).log_internal_errors(false).init();
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    if config.host.is_unspecified() && config.callback_url.is_some() && config.public_url.is_none() {
        let host = config.host;
        tracing::warn!(
            "heartbeats name http://{host}, by which no service knows this runtime: set RUNTIME_PUBLIC_URL to its address there"
        );
    }

    let listener = TcpListener::bind((config.host, config.port)).await?;
    let runtime = Runtime::start(config, listener)?;
    tracing::info!("listening on http://{}", runtime.addr());
    tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
    tracing::info!("shutting down");
    runtime.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
