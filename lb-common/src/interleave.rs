//! For tests only: what happens between two operations on the words that CPUs share.
//!
//! A test that runs CPUs by turns, to try every order of their steps, must have a say before each
//! step. Neither the XDP program nor a release of the controller is built with this feature.

use core::{
    mem,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

/// A `fn()`, or null.
static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// From now on `hook` is called, on all threads, before every operation on a shared word.
pub fn set_hook(hook: fn()) {
    HOOK.store(hook as *mut (), Relaxed);
}

/// Calls the hook.
pub(crate) fn step() {
    let hook = HOOK.load(Relaxed);
    if !hook.is_null() {
        // SAFETY: only `set_hook` stores here, and what it stores was a `fn()`.
        let hook: fn() = unsafe { mem::transmute(hook) };
        hook();
    }
}
