//! Interfaces and their addresses (rtnetlink).

use std::{collections::BTreeSet, io};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp},
};

use super::{
    super::{Interface, XdpProgram},
    offloads, sysctl, xdp_features,
};
use crate::netlink::{Netlink, addresses};

/// All interfaces; an XDP program on those named `ours` is one of ours.
pub(super) fn interfaces(netlink: &mut Netlink, ours: &[String]) -> io::Result<Vec<Interface>> {
    let addresses = addresses::list(netlink)?;
    let mut features = xdp_features::all().unwrap_or_default();
    let answers = netlink.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    let mut found = Vec::new();
    for answer in answers {
        let RouteNetlinkMessage::NewLink(link) = answer else { continue };
        let index = link.header.index;
        let Some(mut interface) = read(&link, ours) else { continue };
        let its_own = addresses.iter().filter(|address| address.interface == index);
        interface.addresses = its_own.map(|address| address.network).collect();
        interface.xdp_features = features.remove(&index);
        found.push(interface);
    }
    Ok(found)
}

fn read(link: &LinkMessage, ours: &[String]) -> Option<Interface> {
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
        mtu: 0,
        driver: None,
        addresses: Vec::new(),
        ipv4: None,
        ipv6_forwarding: None,
        offloads: BTreeSet::new(),
        xdp_features: None,
        xdp: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Xdp(xdp) => interface.xdp = program(xdp),
            _ => {}
        }
    }
    let name = (!interface.name.is_empty()).then(|| interface.name.clone())?;
    if let Some(program) = &mut interface.xdp {
        program.ours = ours.contains(&name);
    }
    interface.driver = offloads::driver(&name);
    interface.offloads = offloads::switched_on(&name).unwrap_or_default();
    interface.ipv4 = sysctl::ipv4(&name);
    let ipv6_off = sysctl::flag(&format!("net/ipv6/conf/{name}/disable_ipv6"));
    if ipv6_off == Some(false) {
        interface.ipv6_forwarding = sysctl::flag(&format!("net/ipv6/conf/{name}/forwarding"));
    }
    Some(interface)
}

fn program(xdp: &[LinkXdp]) -> Option<XdpProgram> {
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(XdpProgram { id: *id, ours: false }),
        _ => None,
    })
}
