//! Runs the scripts that drive real clients: socket.io-client and a browser.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// How long a script may take as a whole.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(170);

/// Runs a script of `tests/node` and fails with what it printed unless it succeeds.
pub(crate) async fn run(script: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    assert!(folder.join("node_modules").is_dir(), "tests/node is not installed: run `npm ci` there, or `cargo xtask test`");
    let mut command = Command::new("node");
    command.arg(folder.join(script)).args(arguments).current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(SCRIPT_DEADLINE, command.output()).await.unwrap_or_else(|_| panic!("{script} did not end in time")).unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} failed:\n{printed}");
    assert!(printed.contains("ok - "), "{script} proved nothing:\n{printed}");
}
