//! A BPF array mapped into the controller's memory: to look at a value, or to change it, costs no
//! system call.

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

use lb_common::{atomic::Word, load::Load, port::Port};

/// A value that several CPUs and both planes change at once.
///
/// # Safety
///
/// It must be made of atomic words alone, of a size that is a multiple of eight bytes, and all
/// zero must be a value.
pub(super) unsafe trait Shared {}

// SAFETY: an atomic word.
unsafe impl Shared for Word {}
// SAFETY: two atomic words; all zero has taken nothing.
unsafe impl Shared for Load {}
// SAFETY: four atomic words; all zero is a free port.
unsafe impl Shared for Port {}

/// The values of an array.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    fd: OwnedFd,
    memory: NonNull<T>,
    len: usize,
}

// SAFETY: the memory belongs to this value alone as far as its release goes, and `Shared` values
// are made of atomic words, which any thread may use.
unsafe impl<T: Shared> Send for Mapped<T> {}
// SAFETY: as above; `&Mapped` gives out only `&[T]`.
unsafe impl<T: Shared> Sync for Mapped<T> {}

impl<T: Shared> Mapped<T> {
    /// Maps `fd`, an array of `len` values of type `T` that may be mapped.
    pub(super) fn new(fd: OwnedFd, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { fd, memory, len })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, holds `len` values (who calls `new` has compared the
        // shape), and lives as long as `self`. All zero is a value, and whoever else writes (the
        // XDP program) does so through the same atomic words.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of this length; no reference outlives `self`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}
