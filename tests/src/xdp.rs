//! The smallest XDP programs there are: one verdict for every frame, or one way out.
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
    /// Nowhere; only the interface's counter of packets knows of it.
    Drop = 1,
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

/// Sends frames out of an interface as a driver does, a million and more per second: they pass no
/// socket and no queue.
#[derive(Debug)]
pub struct Injector {
    program: OwnedFd,
}

// Commands, types and flags of bpf(2), from linux/bpf.h and linux/if_link.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// What the program says is done with the frames (Linux 5.18).
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// The helper `bpf_redirect`.
const REDIRECT: i32 = 23;

/// The same for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct RunRequest {
    program: u32,
    returned: u32,
    frame_len: u32,
    output_len: u32,
    frame: u64,
    output: u64,
    repeat: u32,
    duration: u32,
    context_lens: [u32; 2],
    contexts: [u64; 2],
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

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
    // r0 = verdict; exit
    let program = [Instruction::set(0, verdict as i32), Instruction::EXIT];
    let link = load(&program).and_then(|program| link(&program, interface));
    let link = link.with_context(|| format!("attach an XDP program to {interface}"))?;
    Ok(Attached { _link: link })
}

impl Injector {
    /// Out of `interface`, in the namespace of the calling thread; the driver of its other end runs
    /// an XDP program. All frames begin like `frame`, up to the IPv4 source address. If `forges`, they
    /// have ever other ones.
    pub fn new(interface: &str, frame: &[u8], forges: bool) -> Result<Self> {
        let index = if_nametoindex(interface).with_context(|| format!("find {interface}"))?;
        let mut program = restoring(frame)?;
        if forges {
            program.extend(forging());
        }
        // r1 = interface; r2 = 0; r0 = bpf_redirect(r1, r2); exit
        program.extend([
            Instruction::set(1, index.cast_signed()),
            Instruction::set(2, 0),
            Instruction::new(0x85, 0, 0, REDIRECT),
            Instruction::EXIT,
        ]);
        let program = load(&program).context("load a program that redirects")?;
        Ok(Self { program })
    }

    /// Sends `frame` so many times, from the namespace of the interface. What does not fit is lost.
    pub fn send(&self, frame: &[u8], times: u32) -> Result<()> {
        let request = RunRequest {
            program: self.program.as_raw_fd().cast_unsigned(),
            frame_len: frame.len() as u32,
            frame: frame.as_ptr() as u64,
            repeat: times,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            ..RunRequest::default()
        };
        // SAFETY: `request` begins as BPF_PROG_TEST_RUN's attributes do; the frame lives until the call
        // has returned, and is as long as it says; nothing is written.
        unsafe { call(BPF_PROG_TEST_RUN, &request) }.map(drop).context("send frames")
    }
}

impl Instruction {
    const EXIT: Self = Self::new(0x95, 0, 0, 0);

    /// The registers are the destination, and 16 times the source.
    const fn new(opcode: u8, registers: u8, offset: i16, immediate: i32) -> Self {
        Self { opcode, registers, offset, immediate }
    }

    /// register = value
    const fn set(register: u8, value: i32) -> Self {
        Self::new(0xb7, register, 0, value)
    }
}

/// Where an IPv4 source address lies behind an Ethernet header.
const SOURCE: u8 = 26;

/// Writes what comes before the IPv4 source address as it is in `frame`. What a frame became where
/// it was sent, its memory holds when it is used again: other Ethernet addresses, one hop less.
fn restoring(frame: &[u8]) -> Result<Vec<Instruction>> {
    let beginning = frame.get(..SOURCE.into()).context("the frame is too short for IPv4")?;
    // r2 = data; r3 = data_end; r4 = r2 + SOURCE; if r4 > r3, skip what follows
    let mut program = vec![
        Instruction::new(0x61, 0x12, 0, 0),
        Instruction::new(0x61, 0x13, 4, 0),
        Instruction::new(0xbf, 0x24, 0, 0),
        Instruction::new(0x07, 0x04, 0, SOURCE.into()),
        Instruction::new(0x2d, 0x34, (SOURCE / 2).into(), 0),
    ];
    let halves = (0i16..).step_by(2).zip(beginning.chunks_exact(2));
    program.extend(halves.map(|(offset, half)| {
        // *(u16 *)(r2 + offset) = half
        Instruction::new(0x6a, 0x02, offset, i32::from(u16::from_ne_bytes([half[0], half[1]])))
    }));
    Ok(program)
}

/// Adds one to the lower half of the IPv4 source address, and takes one from the upper half, so that
/// no checksum changes. What a frame was sent as, its memory holds when it is used again.
fn forging() -> Vec<Instruction> {
    // r2 = data; r3 = data_end; r4 = r2 + 30; if r4 > r3, skip what follows
    let mut program = vec![
        Instruction::new(0x61, 0x12, 0, 0),
        Instruction::new(0x61, 0x13, 4, 0),
        Instruction::new(0xbf, 0x24, 0, 0),
        Instruction::new(0x07, 0x04, 0, 30),
        Instruction::new(0x2d, 0x34, 10, 0),
    ];
    for (offset, change) in [(28, 1), (26, -1)] {
        // r5 = half, in host byte order, changed; half = r5, in network byte order
        program.extend([
            Instruction::new(0x69, 0x25, offset, 0),
            Instruction::new(0xdc, 0x05, 0, 16),
            Instruction::new(0x07, 0x05, 0, change),
            Instruction::new(0xdc, 0x05, 0, 16),
            Instruction::new(0x6b, 0x52, offset, 0),
        ]);
    }
    program
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
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
    // SAFETY: the caller's promise; the kernel has just made this descriptor for us.
    unsafe { call(command, request).map(|descriptor| OwnedFd::from_raw_fd(descriptor)) }
}

/// A command of bpf(2).
///
/// # Safety
/// As for [`bpf`], but for what it makes.
unsafe fn call<T>(command: libc::c_int, request: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at `request`, which is that long; the caller
    // answers for what they mean.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *request, size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
