//! A host as the checks see it: plain data, gathered by `gather` or made up by a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::PathBuf,
};

use crate::{config::model::PortRange, netlink::Network};

/// What the checks need to know about a host. `None` means that the host does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Version of the kernel.
    pub kernel: Option<KernelVersion>,
    /// Size of a memory page, in bytes: native XDP puts a whole frame into one.
    pub page_bytes: u32,
    /// All interfaces.
    pub interfaces: Vec<Interface>,
    /// `net.ipv4.ip_forward`.
    pub ipv4_forwarding: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`; `None` without IPv6.
    pub ipv6_forwarding: Option<bool>,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral_ports: Option<PortRange>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: Vec<PortRange>,
    /// The interface on the way to each broker; `None` if there is no route.
    pub routes: BTreeMap<IpAddr, Option<String>>,
    /// Where the pins go.
    pub pins: PinDirectory,
    /// The effective capabilities, as `CAP_BPF`.
    pub capabilities: BTreeSet<String>,
    /// The hard limit of open files.
    pub open_files: u64,
    /// Whether connection tracking is loaded.
    pub conntrack: bool,
}

impl Host {
    /// The interface with this name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }
}

/// Version of a kernel, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 6 of 6.1.
    pub major: u32,
    /// The 1 of 6.1.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads what `uname -r` says, such as "6.1.0-25-amd64".
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether its link is there.
    pub carrier: bool,
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// Its driver, as `ethtool -i` names it.
    pub driver: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Network>,
    /// Its settings of IPv4; `None` without IPv4.
    pub ipv4: Option<Ipv4Settings>,
    /// Its `net.ipv6.conf.IF.forwarding`; `None` without IPv6.
    pub ipv6_forwarding: Option<bool>,
    /// The offloads that are on, as the kernel names them: `rx-lro`, `rx-gro-hw` ...
    pub offloads: BTreeSet<String>,
    /// What its driver can do with XDP (Linux 6.3).
    pub xdp_features: Option<XdpFeatures>,
    /// The XDP program on it.
    pub xdp: Option<XdpProgram>,
}

/// Settings of IPv4 as they act on an interface: those of `all` are taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Settings {
    /// Whether packets that arrive here are forwarded.
    pub forwarding: bool,
    /// 0: off; 1: strict; 2: loose.
    pub rp_filter: u8,
    /// Whether packets that arrive here may come from an address of this host.
    pub accept_local: bool,
    /// 0: ARP is answered here for addresses of any interface.
    pub arp_ignore: u8,
}

/// What a driver can do with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures {
    /// It runs programs.
    pub basic: bool,
    /// It sends frames that programs redirect to it, now.
    pub transmits_redirected: bool,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's number of it.
    pub id: u32,
    /// Whether a controller of ours put it there, with the same directory of pins.
    pub ours: bool,
}

/// The file system that the directory of the pins is, or would be, in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinDirectory {
    /// A bpffs.
    Bpffs,
    /// Another one; a bpffs mounted on this directory would do.
    Other(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_up_to_its_second_number() {
        let parse = KernelVersion::parse;
        assert_eq!(parse("6.1.0-25-amd64"), Some(KernelVersion { major: 6, minor: 1 }));
        assert_eq!(parse("5.15-rc1"), Some(KernelVersion { major: 5, minor: 15 }));
        assert_eq!(parse("linux"), None);
    }
}
