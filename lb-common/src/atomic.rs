//! A 32-bit word that several CPUs, and both planes, touch at once.
//!
//! On the host this is [`core::sync::atomic::AtomicU32`]. For BPF it has the same methods, but
//! loads and stores are volatile accesses: LLVM 22 has no instruction for a relaxed atomic load
//! or store below `-mcpu=v4`, and refuses to compile one. Read-modify-write operations are the
//! atomic instructions of Linux 5.12.

#[cfg(not(target_arch = "bpf"))]
pub use core::sync::atomic::AtomicU32;

#[cfg(target_arch = "bpf")]
pub use bpf::AtomicU32;

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::sync::atomic::{self, Ordering};

    /// See the module. Every ordering is treated as relaxed where it is a load or a store.
    #[repr(transparent)]
    #[derive(Debug)]
    pub struct AtomicU32(atomic::AtomicU32);

    impl AtomicU32 {
        /// A word that holds `value`.
        #[inline(always)]
        pub const fn new(value: u32) -> Self {
            Self(atomic::AtomicU32::new(value))
        }

        /// The word now, read in one piece.
        #[inline(always)]
        pub fn load(&self, _: Ordering) -> u32 {
            // SAFETY: `self` is a valid, aligned word; BPF reads an aligned word with one
            // instruction, which the kernel's JIT keeps as one (what READ_ONCE relies on).
            unsafe { self.0.as_ptr().read_volatile() }
        }

        /// Writes the word in one piece.
        #[inline(always)]
        pub fn store(&self, value: u32, _: Ordering) {
            // SAFETY: as in `load`, for WRITE_ONCE; the type allows writing through `&self`.
            unsafe { self.0.as_ptr().write_volatile(value) }
        }

        /// See [`atomic::AtomicU32::swap`].
        #[inline(always)]
        pub fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.0.swap(value, order)
        }

        /// See [`atomic::AtomicU32::compare_exchange`].
        #[inline(always)]
        pub fn compare_exchange(
            &self,
            current: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.0.compare_exchange(current, new, success, failure)
        }

        /// See [`atomic::AtomicU32::fetch_add`].
        #[inline(always)]
        pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_add(value, order)
        }

        /// See [`atomic::AtomicU32::fetch_or`].
        #[inline(always)]
        pub fn fetch_or(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_or(value, order)
        }

        /// See [`atomic::AtomicU32::fetch_and`].
        #[inline(always)]
        pub fn fetch_and(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_and(value, order)
        }
    }
}
