//! The ways to the brokers, as the kernel would choose them (`RTM_GETROUTE`).

use std::{collections::BTreeMap, net::IpAddr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::super::Interface;
use crate::{config::model::Config, netlink::Netlink};

/// The interface towards each broker; `None` where there is no way.
pub(super) fn to_brokers(
    netlink: &mut Netlink,
    config: &Config,
    interfaces: &[Interface],
) -> BTreeMap<IpAddr, Option<String>> {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    backends.map(|backend| (backend.address, way(netlink, backend.address, interfaces))).collect()
}

fn way(netlink: &mut Netlink, to: IpAddr, interfaces: &[Interface]) -> Option<String> {
    let answers = netlink.ask(RouteNetlinkMessage::GetRoute(question(to)), 0).ok()?;
    let index = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => {
            route.attributes.into_iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(index),
                _ => None,
            })
        }
        _ => None,
    })?;
    interfaces.iter().find(|interface| interface.index == index).map(|found| found.name.clone())
}

fn question(to: IpAddr) -> RouteMessage {
    let mut question = RouteMessage::default();
    let (family, prefix, destination) = match to {
        IpAddr::V4(v4) => (AddressFamily::Inet, 32, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(v6)),
    };
    question.header.address_family = family;
    question.header.destination_prefix_length = prefix;
    question.attributes.push(RouteAttribute::Destination(destination));
    question
}
