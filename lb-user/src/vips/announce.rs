//! Telling the neighbours where the held VIPs are.

use std::{
    collections::BTreeSet,
    io, mem,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use super::{VipError, ethernet, frame, is_ours};
use crate::netlink::{Netlink, addresses};

/// Sends a gratuitous ARP, or an unsolicited Neighbor Advertisement, for every VIP that
/// [`super::hold`] added to an Ethernet interface, and returns those. Needs `CAP_NET_RAW`.
///
/// Nobody acknowledges them: worth repeating after a second.
pub fn announce() -> Result<BTreeSet<IpAddr>, VipError> {
    let mut netlink = Netlink::route().map_err(VipError::List)?;
    let links = ethernet::links(&mut netlink).map_err(VipError::List)?;
    let held = addresses::list(&mut netlink).map_err(VipError::List)?;
    let mut announced = BTreeSet::new();
    for address in held.iter().filter(|address| is_ours(address)) {
        let link = links.iter().find(|link| link.index == address.interface);
        let Some((link, mac)) = link.and_then(|link| Some((link, link.mac?))) else { continue };
        let vip = address.network.address;
        send(link.index, &frame::announcement(vip, mac)).map_err(|source| VipError::Announce {
            vip,
            interface: link.name.clone(),
            source,
        })?;
        announced.insert(vip);
    }
    Ok(announced)
}

/// Sends a whole frame out of an interface.
fn send(interface: u32, frame: &[u8]) -> io::Result<()> {
    let socket = packet_socket()?;
    // SAFETY: integers and an array of bytes: zero is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: frame and address live until the call returns, and have the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One that sends whole frames and, as it asks for no protocol, receives none.
fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes three integers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us the descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
