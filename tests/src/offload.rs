//! Switches of a network interface that make it treat packets as a wire does.

use std::io;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsRawFd as _;

/// A switch of `ethtool -K`; the numbers are those of linux/ethtool.h.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Switch {
    /// Checksums of sent packets are left to the device.
    TxChecksum = 0x17,
    /// TCP segments larger than a packet are sent, for the device to cut.
    TcpSegmentation = 0x1f,
    /// The same, cut in software just before the device.
    GenericSegmentation = 0x24,
    /// Received TCP segments are joined, to be cut again further on.
    GenericReceive = 0x2c,
}

/// The argument of the old ethtool calls, laid out as `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Makes `interface`, in the namespace of the calling thread, send and receive whole packets with
/// complete checksums: an XDP program at the other end sees the bytes as they are in memory.
pub fn behave_like_a_wire(interface: &str) -> Result<()> {
    use Switch::{GenericReceive, GenericSegmentation, TcpSegmentation, TxChecksum};
    for switch in [TxChecksum, TcpSegmentation, GenericSegmentation, GenericReceive] {
        switch_off(interface, switch)
            .with_context(|| format!("switch {switch:?} of {interface} off"))?;
    }
    Ok(())
}

fn switch_off(interface: &str, switch: Switch) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command: switch as u32, data: 0 };
    // SAFETY: an all-zero ifreq is valid: it is integers, and a union of integers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the name is a C string.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *target = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads `request` and, through ifru_data, a struct ethtool_value; both live
    // until the call returns, and `Value` has its layout.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
