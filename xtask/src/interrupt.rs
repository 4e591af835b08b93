//! Ctrl-C and its relatives end the running step, and xtask then leaves by its normal way out, so
//! that what it started (a database, a temporary folder) is cleaned up.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{io, thread, time};

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// The process to tell; 0 when no step runs.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// Installs the handlers; programs started later get the default behaviour back from `exec`.
pub(crate) fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler: extern "C" fn(libc::c_int) = on_signal;
        #[expect(unsafe_code, reason = "the standard library has no signal handlers")]
        // SAFETY: the handler uses atomics and kill, both allowed in one.
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
}

pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::SeqCst)
}

/// Waits until somebody ends this process.
pub(crate) fn wait() {
    /// Short enough that nobody notices.
    const POLL: time::Duration = time::Duration::from_millis(100);
    while !happened() {
        thread::sleep(POLL);
    }
}

/// Runs a command to its end, telling it when xtask is told to end.
pub(crate) fn status(command: &mut Command) -> io::Result<ExitStatus> {
    if happened() {
        return Ok(ExitStatus::from_raw(libc::SIGINT));
    }
    let mut child = command.spawn()?;
    CHILD.store(child.id().try_into().unwrap_or(0), Ordering::SeqCst);
    if happened() {
        // It came between the start and the note of whom to tell; a child that is gone needs no telling.
        drop(child.kill());
    }
    let status = child.wait();
    CHILD.store(0, Ordering::SeqCst);
    status
}

extern "C" fn on_signal(signal: libc::c_int) {
    HAPPENED.store(true, Ordering::SeqCst);
    let child = CHILD.load(Ordering::SeqCst);
    // The terminal sends Ctrl-C to the child as well, and a second one means "at once" to test runners.
    if child > 0 && signal != libc::SIGINT {
        #[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
        // SAFETY: kill is allowed in a handler and touches no memory.
        unsafe {
            libc::kill(child, signal);
        }
    }
}
