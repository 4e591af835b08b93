//! Our runtime as a program, on a port and in a folder of its own.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) const TOKEN: &str = "the token of these tests";
/// A program that asks for a login as Codex does, and waits.
const SIGNS_IN: &str = "#!/bin/sh\n\
    printf 'Follow these steps to sign in with ChatGPT using device code authorization:\\r\\n\\r\\n'\n\
    printf '1. Open this link in your browser and sign in to your account\\r\\n   https://auth.openai.com/codex/device\\r\\n\\r\\n'\n\
    printf '2. Enter this one-time code (expires in 15 minutes)\\r\\n   ABCD-12345\\r\\n'\n\
    exec sleep 1000\n";

/// How long the program may take to listen.
const DEADLINE: Duration = Duration::from_secs(30);

/// Ended with its value, however often it was started again.
pub(crate) struct Runtime {
    folder: TempDir,
    port: u16,
}

impl Runtime {
    pub(crate) async fn start() -> Self {
        let program = program();
        assert!(program.is_file(), "{} is not there: build it with `cargo build -p pty-runtime`", program.display());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let runtime = Self { folder: tempfile::tempdir().unwrap(), port };
        // The shell sees nothing else of what the tests run in.
        let script = format!(
            "[ -f pid ] && kill -9 $(cat pid) && while grep -q '^State:.[^ZX]' /proc/$(cat pid)/status 2>/dev/null; do sleep 0.02; done\n\
             env -i PATH=\"$PWD/bin:$PATH\" HOME=\"$PWD\" RUNTIME_PORT={port} RUNTIME_TOKEN='{TOKEN}' RUNTIME_WORKDIR_ROOT=\"$PWD/agents\" LOG_LEVEL=warn \\\n\
             setsid '{}' > log 2>&1 &\n\
             echo $! > pid\n",
            program.display()
        );
        fs::write(runtime.folder.path().join("restart.sh"), script).unwrap();
        let programs = runtime.folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        fs::write(programs.join("codex"), SIGNS_IN).unwrap();
        fs::set_permissions(programs.join("codex"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new("sh").args(["-c", &runtime.restart_command()]).status().unwrap().success());
        let deadline = Instant::now() + DEADLINE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "the runtime does not listen: {:?}", fs::read_to_string(runtime.folder.path().join("log")));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        runtime
    }

    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        fs::read_to_string(self.folder.path().join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Kills the runtime hard, and starts it again on the same port with the same folder.
    pub(crate) fn restart_command(&self) -> String {
        format!("cd '{}' && exec sh ./restart.sh", self.folder.path().display())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.folder.path().join("pid")) {
            // It may have ended by itself, which the test that failed has told.
            let _ended = Command::new("kill").args(["-9", pid.trim()]).status().is_ok();
        }
    }
}

/// Beside the folder of this test, where cargo puts every program of the workspace.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("raven-runtime")
}
