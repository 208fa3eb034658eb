//! The network of the golden conversations.

use std::fmt::Write as _;

use anyhow::Result;
use lb_ebpf::host::golden::{Family, GATEWAY_MAC, Net, OUR_MAC, broker_mac};

use crate::netns::Namespace;

/// The interface that all routes lead out of, numbered [`Net::INTERFACE`].
pub(super) const INTERFACE: &str = "golden0";

/// A namespace with the interface, addresses, routes and neighbours of the golden conversations.
pub(super) fn golden_network() -> Result<Namespace> {
    let namespace = Namespace::new()?;
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let mut lines = format!(
        "link set lo up\n\
         link add {INTERFACE} index {} address {} mtu 1500 type veth peer name golden1\n\
         link set golden1 up\nlink set {INTERFACE} up\n",
        Net::INTERFACE,
        mac(OUR_MAC)
    );
    for family in [Family::V4, Family::V6] {
        let net = Net(family);
        let (bits, clients, gateway) = match family {
            Family::V4 => (24, "10.77.3.0/24", "10.77.1.200"),
            Family::V6 => (48, "fd00:77:3::/48", "fd00:77:1::200"),
        };
        let nodad = if family == Family::V6 { " nodad" } else { "" };
        writeln!(lines, "address add {}/{bits} dev {INTERFACE}{nodad}", net.source().0)?;
        writeln!(lines, "route add {clients} via {gateway} dev {INTERFACE}")?;
        lines += &neighbour(gateway, &mac(GATEWAY_MAC));
        for number in [1, 2] {
            lines += &neighbour(&net.broker(number).0.to_string(), &mac(broker_mac(number)));
        }
    }
    namespace.ip(&lines)?;
    namespace.sysctl(&[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")])?;
    Ok(namespace)
}

fn neighbour(address: &str, mac: &str) -> String {
    format!("neighbour replace {address} lladdr {mac} dev {INTERFACE} nud permanent\n")
}
