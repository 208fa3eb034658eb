//! What a test on namespaces asks of the machine and of the other tests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cleanup;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other network test of this program runs, and prepares the machine: a thousand
/// clients need more open files than the usual soft limit.
///
/// Two cores can't carry several fleets at once without disturbing each other's timing.
///
/// # Panics
/// If the test does not run as root.
pub fn exclusive() -> MutexGuard<'static, ()> {
    require_root();
    // A poisoned lock only says that another test failed.
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    cleanup::sweep_stale();
    raise_open_files();
    guard
}

/// # Panics
/// If the program does not run as root: a test that skipped itself would look like one that passed.
pub fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces: run it as root (`cargo xtask test` asks for sudo)"
    );
}

/// Raises the soft limit of open files to the hard one, also for the programs started later.
pub fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
