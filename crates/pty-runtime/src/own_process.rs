//! What this process arranges for itself when it starts, as the runtime or as a supervisor.

use std::sync::OnceLock;

/// How many files this process might have open before that was raised.
static OPEN_FILES_BEFORE: OnceLock<u64> = OnceLock::new();

/// Keeps other processes of the same user from reading this one's memory and environment, which
/// hold its secrets.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not know this attribute")]
pub fn keep_to_itself() {
    // SAFETY: the call takes numbers only, and cannot fail with these.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}

#[cfg(not(target_os = "linux"))]
pub fn keep_to_itself() {}

/// Has processes that lose their parents become children of this one, as long as they descend from it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not know this attribute")]
pub(crate) fn adopt_orphans() {
    // SAFETY: the call takes numbers only, and cannot fail with these.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn adopt_orphans() {}

/// Closes whatever was left open by those who started this process, but for its standard streams.
/// Called before anything is opened.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not close what it did not open")]
pub(crate) fn close_foreign_files() {
    // SAFETY: nothing of this process has one of these descriptors yet. An old kernel refuses the call.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn close_foreign_files() {}

/// Lets this process have as many files open as the host allows; every agent and every viewer needs some.
#[expect(unsafe_code, reason = "the standard library sets no limits")]
pub fn raise_open_files() {
    let Some(limit) = open_files() else {
        return;
    };
    // SAFETY: `raised` is valid for the call.
    let failed = unsafe {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) != 0
    };
    if !failed {
        OPEN_FILES_BEFORE.get_or_init(|| limit.rlim_cur);
    }
}

/// How many files this process might have open before [`raise_open_files`], if that raised it: what
/// agents get, since programs exist that fail with more.
pub(crate) fn open_files_before() -> Option<u64> {
    OPEN_FILES_BEFORE.get().copied()
}

/// How many files this process may have open.
pub(crate) fn open_files_max() -> Option<usize> {
    usize::try_from(open_files()?.rlim_cur).ok()
}

#[expect(unsafe_code, reason = "the standard library tells no limits")]
fn open_files() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes during the call.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    (!failed).then_some(limit)
}
