//! Removing what the harness made: when a guard is dropped, when a signal ends the program, and
//! after a run that was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{netns, scratch};

/// Everything the harness names on this host starts so; the number of the process follows.
pub(crate) const PREFIX: &str = "mqlb-t-";

type Action = Box<dyn FnOnce() + Send>;

static ACTIONS: Mutex<BTreeMap<u64, Action>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A removal that runs exactly once: when this guard is dropped, or in [`run_all`].
#[derive(Debug)]
pub struct Cleanup(u64);

impl Cleanup {
    /// Registers a removal. It must not panic, and must not register or drop another one.
    pub fn new(action: impl FnOnce() + Send + 'static) -> Self {
        uninterrupted().register(action)
    }
}

/// No signal runs the removals meanwhile: what is made under this guard, and registered by it, is not
/// made after everything was removed.
pub(crate) struct Uninterrupted(MutexGuard<'static, BTreeMap<u64, Action>>);

/// See [`Uninterrupted`]. The thread must not register or drop a removal meanwhile.
pub(crate) fn uninterrupted() -> Uninterrupted {
    Uninterrupted(actions())
}

impl Uninterrupted {
    /// As [`Cleanup::new`], whether the making went well or not.
    pub(crate) fn register(mut self, action: impl FnOnce() + Send + 'static) -> Cleanup {
        let number = next_number();
        self.0.insert(number, Box::new(action));
        Cleanup(number)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // The lock is released before the action runs: killing a process may take a while.
        let action = actions().remove(&self.0);
        if let Some(action) = action {
            action();
        }
    }
}

/// Runs every registered removal, the newest first.
pub fn run_all() {
    drop(run_all_and_block());
}

/// Until the result is dropped, threads that want to register another removal wait.
fn run_all_and_block() -> MutexGuard<'static, BTreeMap<u64, Action>> {
    let mut actions = actions();
    while let Some((_, action)) = actions.pop_last() {
        action();
    }
    actions
}

/// From now on SIGINT, SIGTERM and SIGHUP call `say`, run every removal, and then end the program
/// with the usual exit status (128 + the signal's number).
pub fn on_signals(say: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install the signal handlers")?;
    std::thread::Builder::new().name("cleanup".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            say();
            let _nothing_new_is_made = run_all_and_block();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Removes what runs of the harness left behind that were killed before they could clean up.
pub fn sweep_stale() {
    netns::sweep_stale();
    scratch::sweep_stale();
}

/// A name that no other run and nothing else in this run has.
pub(crate) fn unique_name() -> String {
    format!("{PREFIX}{}-{}", std::process::id(), next_number())
}

/// True if `name` was made by [`unique_name`] in a process that no longer exists.
pub(crate) fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let Some((pid, _)) = rest.split_once('-') else { return false };
    pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
}

fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn actions() -> MutexGuard<'static, BTreeMap<u64, Action>> {
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_removal_runs_once_even_while_a_test_panics() {
        let runs = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&runs);
        let panicking = std::thread::spawn(move || {
            let _guard = Cleanup::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn only_names_of_dead_processes_are_stale() {
        assert!(!is_stale(&unique_name()));
        assert!(!is_stale("mqlb-t-1-0"), "process 1 always lives");
        assert!(is_stale("mqlb-t-4194999-0"), "beyond the largest possible process number");
        assert!(!is_stale("mqlb-t-4194999"));
        assert!(!is_stale("somebody-else-4194999-0"));
    }
}
