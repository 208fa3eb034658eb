//! One shared 64-bit word.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A 64-bit word that several CPUs, and both planes, change at once; all operations are relaxed.
///
/// It is an `AtomicU64` but for its loads and stores in BPF: LLVM 22 has no instruction for a
/// relaxed atomic load or store below `-mcpu=v4`, so they are volatile accesses there. The
/// read-modify-write operations are the atomic instructions of Linux 5.12.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

impl Word {
    /// A word that holds `value`.
    #[inline(always)]
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Its value.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> u64 {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        #[cfg(not(target_arch = "bpf"))]
        return self.0.load(Relaxed);
        // SAFETY: a reference to an aligned word, which BPF reads with one instruction that the
        // kernel's JIT keeps as one (what READ_ONCE relies on).
        #[cfg(target_arch = "bpf")]
        return unsafe { self.0.as_ptr().read_volatile() };
    }

    /// Gives it another value.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(value, Relaxed);
        // SAFETY: as in `load`, for WRITE_ONCE; the type allows writing through `&self`.
        #[cfg(target_arch = "bpf")]
        unsafe {
            self.0.as_ptr().write_volatile(value);
        }
    }

    /// Changes `old` to `new`; whether it held `old`.
    #[inline(always)]
    pub fn exchange(&self, old: u64, new: u64) -> bool {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        self.0.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }

    /// Adds `number`, and wraps around.
    #[inline(always)]
    pub fn add(&self, number: u64) {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        self.0.fetch_add(number, Relaxed);
    }

    /// Sets `bits`; returns the value before.
    #[inline(always)]
    pub fn set(&self, bits: u64) -> u64 {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        self.0.fetch_or(bits, Relaxed)
    }

    /// Clears `bits`; returns the value before.
    #[inline(always)]
    pub fn clear(&self, bits: u64) -> u64 {
        #[cfg(feature = "interleave")]
        crate::interleave::step();
        self.0.fetch_and(!bits, Relaxed)
    }
}
