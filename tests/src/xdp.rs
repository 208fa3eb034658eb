//! The smallest XDP programs there are: one verdict for every frame.
//!
//! A veth only takes what the XDP program of its peer transmits (`XDP_TX`) if it has an XDP program
//! itself. Generic receive offload, which is enough for redirects, is not for this: the frames
//! enter its queue, but nobody wakes the reader, and they lie there until something else does.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

/// What the program does with every frame, as the kernel numbers it (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Verdict {
    /// On to the kernel, as if there were no program.
    Pass = 2,
    /// Back out of the interface it came in by.
    Transmit = 3,
}

/// An attached program; dropped, or when this process ends, it is detached.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
}

// Commands, types and flags of bpf(2), from linux/bpf.h and linux/if_link.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// struct `bpf_insn`.
#[repr(C)]
struct Instruction {
    opcode: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The beginning of union `bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest for zero.
#[repr(C)]
struct LoadRequest {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkRequest {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Gives `interface`, in the namespace of the calling thread, a program in native mode.
pub fn attach(interface: &str, verdict: Verdict) -> Result<Attached> {
    let link = load(verdict).and_then(|program| link(&program, interface));
    let link = link.with_context(|| format!("attach an XDP program to {interface}"))?;
    Ok(Attached { _link: link })
}

fn load(verdict: Verdict) -> io::Result<OwnedFd> {
    // r0 = verdict; exit
    let program = [
        Instruction { opcode: 0xb7, registers: 0, offset: 0, immediate: verdict as i32 },
        Instruction { opcode: 0x95, registers: 0, offset: 0, immediate: 0 },
    ];
    let license = CString::new("GPL")?;
    let request = LoadRequest {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: `request` begins as BPF_PROG_LOAD's attributes do; the program and the license, a C
    // string, that it points to live until the call has returned.
    unsafe { bpf(BPF_PROG_LOAD, &request) }
}

fn link(program: &OwnedFd, interface: &str) -> io::Result<OwnedFd> {
    let request = LinkRequest {
        program: program.as_raw_fd().cast_unsigned(),
        interface: if_nametoindex(interface)?,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    // SAFETY: `request` begins as BPF_LINK_CREATE's attributes do, and holds no pointer.
    unsafe { bpf(BPF_LINK_CREATE, &request) }
}

/// A command of bpf(2) that makes a file descriptor.
///
/// # Safety
/// `request` must have the layout of the command's attributes, and every pointer in it must be
/// valid.
unsafe fn bpf<T>(command: libc::c_int, request: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at `request`, which is that long; the caller
    // answers for what they mean.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *request, size_of::<T>()) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
