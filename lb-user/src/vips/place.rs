//! Which interface a VIP belongs on.

use std::net::IpAddr;

use super::ethernet::Link;
use crate::netlink::addresses::InterfaceAddress;

const LOOPBACK: &str = "lo";

/// The first of `interfaces` that has a network with room for the VIP, else the loopback.
pub(super) fn interface<'a>(
    vip: IpAddr,
    interfaces: &'a [String],
    links: &[Link],
    held: &[InterfaceAddress],
) -> &'a str {
    let index = |name: &str| links.iter().find(|link| link.name == name).map(|link| link.index);
    let reaches = |name: &&String| {
        index(name).is_some_and(|index| {
            held.iter().any(|own| own.interface == index && own.network.reaches(vip))
        })
    };
    interfaces.iter().find(reaches).map_or(LOOPBACK, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Network;

    fn place(vip: &str) -> &'static str {
        const INTERFACES: [&str; 2] = ["eth0", "eth1"];
        let names = INTERFACES.map(String::from);
        let link = |(index, name): (u32, &&str)| Link { index, name: (*name).into(), mac: None };
        let links: Vec<Link> = (1..).zip(&INTERFACES).map(link).collect();
        let own = |interface, address: &str, prefix| InterfaceAddress {
            interface,
            network: Network { address: address.parse().unwrap(), prefix },
            origin: None,
        };
        let held = [
            own(1, "10.1.0.2", 24),
            own(2, "10.2.0.2", 24),
            own(2, "fd00:2::2", 64),
            own(3, "10.3.0.2", 24),
        ];
        let chosen = interface(vip.parse().unwrap(), &names, &links, &held).to_owned();
        INTERFACES.into_iter().find(|name| *name == chosen).unwrap_or(LOOPBACK)
    }

    #[test]
    fn a_vip_goes_where_its_neighbours_are() {
        assert_eq!(place("10.1.0.99"), "eth0");
        assert_eq!(place("10.2.0.99"), "eth1");
        assert_eq!(place("fd00:2::99"), "eth1");
    }

    #[test]
    fn a_vip_without_neighbours_goes_to_the_loopback() {
        assert_eq!(place("192.0.2.10"), "lo");
        assert_eq!(place("2001:db8::10"), "lo");
        assert_eq!(place("10.3.0.99"), "lo", "that interface is not configured");
    }
}
