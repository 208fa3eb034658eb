//! Addresses of interfaces: listed, added, removed.

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
};

use super::{Netlink, Network};

/// An address, the interface that holds it, and who put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Index of the interface.
    pub interface: u32,
    /// The address and its network.
    pub network: Network,
    /// The mark of who added it (`IFA_PROTO`, Linux 5.18): `ip address` shows it as `proto`.
    pub origin: Option<u8>,
}

/// All addresses of all interfaces.
pub fn list(netlink: &mut Netlink) -> io::Result<Vec<InterfaceAddress>> {
    let answers =
        netlink.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => read(&message),
            _ => None,
        })
        .collect())
}

fn read(message: &AddressMessage) -> Option<InterfaceAddress> {
    let (mut local, mut address, mut origin) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(own) => local = Some(*own),
            AddressAttribute::Address(own_or_peer) => address = Some(*own_or_peer),
            AddressAttribute::Protocol(protocol) => origin = Some(u8::from(*protocol)),
            _ => {}
        }
    }
    // On a point-to-point link `Address` is the peer's.
    let network = Network { address: local.or(address)?, prefix: message.header.prefix_len };
    Some(InterfaceAddress { interface: message.header.index, network, origin })
}

/// Adds `address` alone, without a network, marked with `origin`. Needs `CAP_NET_ADMIN`.
///
/// One of IPv6 is usable at once (no duplicate address detection) and never chosen as a source,
/// which the kernel would otherwise do where it is the closest match to a destination.
pub fn add(netlink: &mut Netlink, interface: u32, address: IpAddr, origin: u8) -> io::Result<()> {
    let mut message = message(interface, address);
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(origin)));
    if address.is_ipv6() {
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes.push(AddressAttribute::Flags(flags));
        message.attributes.push(AddressAttribute::CacheInfo(deprecated()));
    }
    netlink.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Removes `address`; fine if it is gone, or its interface is. Needs `CAP_NET_ADMIN`.
pub fn remove(netlink: &mut Netlink, interface: u32, address: IpAddr) -> io::Result<()> {
    let request = RouteNetlinkMessage::DelAddress(message(interface, address));
    match netlink.ask(request, 0) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Never to expire, and not preferred as a source.
fn deprecated() -> CacheInfo {
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_preferred = 0;
    lifetime.ifa_valid = u32::MAX;
    lifetime
}

fn message(interface: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.index = interface;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}
