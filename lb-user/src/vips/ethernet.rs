//! The interfaces of this host, as far as holding addresses needs them.

use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkLayerType, LinkMessage},
};

use crate::netlink::Netlink;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// Its MAC address, if it is an Ethernet.
    pub mac: Option<[u8; 6]>,
}

pub(super) fn links(netlink: &mut Netlink) -> io::Result<Vec<Link>> {
    let answers = netlink.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => read(&link),
            _ => None,
        })
        .collect())
}

fn read(link: &LinkMessage) -> Option<Link> {
    let is_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    let (mut name, mut mac) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(its_name) => name = Some(its_name.clone()),
            LinkAttribute::Address(bytes) if is_ethernet => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Link { index: link.header.index, name: name?, mac })
}
