//! A configuration and a host that suit each other, for tests to spoil.

use std::net::IpAddr;

use super::{Host, Interface, Ipv4Settings, KernelVersion, PinDirectory, XdpFeatures};
use crate::{
    config::{
        self,
        model::{Config, PortRange},
    },
    netlink::Network,
};

const CONFIG: &str = r#"
interfaces: [{name: eth0}, {name: eth1}]
nat: {addresses: [10.2.0.2, "fd00:2::2"], ports: 15000-30000}
services:
  - {name: v4, vip: 192.0.2.10, port: 1883, backends: [{name: b, address: 10.2.0.11}]}
  - {name: v6, vip: "2001:db8::10", port: 1883, backends: [{name: b, address: "fd00:2::11"}]}
"#;

/// Two arms, both families, VIPs on the loopback, all as it must be.
pub(super) fn well() -> (Config, Host) {
    let config = config::parse(CONFIG).unwrap();
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let routes = backends.map(|backend| (backend.address, Some("eth1".into()))).collect();
    let capabilities = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SYS_ADMIN"];
    let mut host = Host {
        kernel: Some(KernelVersion { major: 6, minor: 1 }),
        page_bytes: 4096,
        interfaces: ["eth0", "eth1", "lo"].map(interface).into(),
        ipv4_forwarding: Some(true),
        ipv6_forwarding: Some(true),
        ephemeral_ports: PortRange::new(32_768, 60_999),
        reserved_ports: Vec::new(),
        routes,
        pins: PinDirectory::Bpffs,
        capabilities: capabilities.map(String::from).into(),
        open_files: 1 << 19,
        conntrack: false,
    };
    for (interface, address, prefix) in [
        ("lo", "192.0.2.10", 32),
        ("lo", "2001:db8::10", 128),
        ("eth0", "10.1.0.2", 24),
        ("eth0", "fd00:1::2", 64),
        ("eth1", "10.2.0.2", 24),
        ("eth1", "fd00:2::2", 64),
    ] {
        add_address(&mut host, interface, address, prefix);
    }
    (config, host)
}

fn interface(name: &str) -> Interface {
    Interface {
        index: 0,
        name: name.into(),
        up: true,
        carrier: true,
        mtu: 1500,
        driver: Some("ixgbe".into()),
        addresses: Vec::new(),
        ipv4: Some(Ipv4Settings {
            forwarding: true,
            rp_filter: 0,
            accept_local: true,
            arp_ignore: 0,
        }),
        ipv6_forwarding: Some(true),
        offloads: ["rx-gro".into()].into(),
        xdp_features: Some(XdpFeatures { basic: true, transmits_redirected: true }),
        xdp: None,
    }
}

/// Gives an address to an interface.
pub(super) fn add_address(host: &mut Host, interface: &str, address: &str, prefix: u8) {
    let address: IpAddr = address.parse().unwrap();
    let interface = host.interfaces.iter_mut().find(|i| i.name == interface).unwrap();
    interface.addresses.push(Network { address, prefix });
}

/// Takes an address from whatever interface holds it.
pub(super) fn drop_address(host: &mut Host, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    for interface in &mut host.interfaces {
        interface.addresses.retain(|network| network.address != address);
    }
}
