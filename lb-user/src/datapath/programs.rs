//! The programs that this process has loaded. Two threads reach them: one loads the program for
//! traces while the controller is at work already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Ebpf;

/// Handles of programs and their maps; a clone is another way to the same ones.
#[derive(Clone)]
pub(super) struct Programs(Arc<Mutex<Ebpf>>);

impl Programs {
    pub(super) fn new(ebpf: Ebpf) -> Self {
        Self(Arc::new(Mutex::new(ebpf)))
    }

    /// Waits while another thread loads one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Ebpf> {
        // Each load and each exchange leaves the handles usable, whatever went wrong in it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
