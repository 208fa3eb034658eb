//! The networks the tests run on: clients, a balancer and brokers, each in a namespace of its own,
//! joined by bridges in one more that plays the switch.
//!
//! ```text
//! one-armed   clients -- [bridge] -- brokers      10.77.1.0/24, fd77:1::/64
//!                           |
//!                        balancer
//!
//! two-armed   clients -- [bridge] -- balancer -- [bridge] -- brokers
//!               10.77.1.0/24, fd77:1::/64    10.77.2.0/24, fd77:2::/64
//! ```
//!
//! The VIPs are in no link's network: clients reach them by a route through the balancer, which
//! holds them on its loopback interface.

mod router;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::netns::Namespace;
use crate::offload;
use crate::scratch::Scratch;
use crate::xdp;

/// How many addresses of each family the clients' interface has.
pub const CLIENT_ADDRESSES: u8 = 4;
/// The port of MQTT, at the VIP and at the brokers.
pub const MQTT_PORT: u16 = 1883;

const FRONT: u8 = 1;
const BACK: u8 = 2;
const BALANCER_HOST: u8 = 2;
const SECOND_BALANCER_HOST: u8 = 3;
const FIRST_BROKER_HOST: u8 = 11;
const FIRST_CLIENT_HOST: u8 = 100;

/// How many interfaces the balancer forwards between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arms {
    /// Clients and brokers are on the same link: packets leave where they came in.
    One,
    /// Clients on `eth0`, brokers on `eth1`.
    Two,
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }
}

/// A network, removed when dropped.
#[derive(Debug)]
pub struct Topology {
    arms: Arms,
    switch: Namespace,
    clients: Namespace,
    balancer: Namespace,
    brokers: Vec<Namespace>,
    scratch: Scratch,
    ports: u32,
    /// They let the ports towards the balancer take what its XDP program transmits.
    programs: Vec<xdp::Attached>,
}

impl Topology {
    /// Builds a network with `brokers` brokers' namespaces, nothing running in any of them.
    pub fn new(arms: Arms, brokers: usize) -> Result<Self> {
        let mut topology = Self {
            arms,
            switch: Namespace::new()?,
            clients: Namespace::new()?,
            balancer: Namespace::new()?,
            brokers: Vec::new(),
            scratch: Scratch::new()?,
            ports: 0,
            programs: Vec::new(),
        };
        topology.build_switch().context("build the switch")?;
        topology.build_balancer().context("build the balancer's side")?;
        topology.build_clients().context("build the clients' side")?;
        for _ in 0..brokers {
            topology.add_broker()?;
        }
        Ok(topology)
    }

    /// Whether the ports towards the balancer drop whatever it sends: for measuring, when nobody is
    /// to be given it.
    pub fn drop_what_the_balancer_sends(&mut self, drop: bool) -> Result<()> {
        let verdict = if drop { xdp::Verdict::Drop } else { xdp::Verdict::Pass };
        // There is one program for each, and room for one only.
        self.programs.clear();
        let ports = self.balancer_ports();
        let attached = self
            .switch
            .run(|| ports.iter().map(|port| xdp::attach(port, verdict)).collect::<Result<_>>())?;
        self.programs = attached.context("exchange the programs of the switch's ports")?;
        Ok(())
    }

    /// Connects one more broker's namespace, and returns its index.
    pub fn add_broker(&mut self) -> Result<usize> {
        let index = self.brokers.len();
        let namespace = Namespace::new()?;
        quiet_ipv6(&namespace)?;
        let link = self.broker_link();
        self.connect(&namespace, "eth0", link, false)?;
        namespace.ip(&format!(
            "{}{}",
            add_address("eth0", link, host(FIRST_BROKER_HOST, index)),
            if self.arms == Arms::Two { default_routes(link) } else { String::new() },
        ))?;
        self.brokers.push(namespace);
        Ok(index)
    }

    /// Which kind of network it is.
    #[must_use]
    pub fn arms(&self) -> Arms {
        self.arms
    }

    /// Where the clients run.
    #[must_use]
    pub fn clients(&self) -> &Namespace {
        &self.clients
    }

    /// Where the balancer runs.
    #[must_use]
    pub fn balancer(&self) -> &Namespace {
        &self.balancer
    }

    /// What joins them. The balancer's interfaces are plugged into [`Self::balancer_ports`].
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// The switch's ports towards the balancer, in the order of [`Self::interfaces`].
    #[must_use]
    pub fn balancer_ports(&self) -> &'static [&'static str] {
        match self.arms {
            Arms::One => &["port0"],
            Arms::Two => &["port0", "port1"],
        }
    }

    /// Where broker `index` runs.
    #[must_use]
    pub fn broker(&self, index: usize) -> &Namespace {
        &self.brokers[index]
    }

    /// How many brokers' namespaces there are.
    #[must_use]
    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// The directory of this network.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The balancer's interfaces, the clients' side first.
    #[must_use]
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.arms {
            Arms::One => &["eth0"],
            Arms::Two => &["eth0", "eth1"],
        }
    }

    /// The address and port of the service, as clients use it.
    #[must_use]
    pub fn vip(&self, family: Family) -> SocketAddr {
        let address = family
            .pick(Ipv4Addr::new(192, 0, 2, 10), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
        SocketAddr::new(address, MQTT_PORT)
    }

    /// The address and port of broker `index`.
    #[must_use]
    pub fn broker_address(&self, index: usize, family: Family) -> SocketAddr {
        let host = host(FIRST_BROKER_HOST, index);
        SocketAddr::new(address(self.broker_link(), host, family), MQTT_PORT)
    }

    /// The balancer's own address towards the brokers.
    #[must_use]
    pub fn balancer_address(&self, family: Family) -> IpAddr {
        address(self.broker_link(), BALANCER_HOST, family)
    }

    /// The addresses the clients can connect from.
    #[must_use]
    pub fn client_addresses(&self, family: Family) -> Vec<IpAddr> {
        (0..CLIENT_ADDRESSES).map(|i| address(FRONT, FIRST_CLIENT_HOST + i, family)).collect()
    }

    /// Lets the brokers hold the VIPs, without saying so on the link: they answer clients directly.
    pub fn give_brokers_the_vips(&self) -> Result<()> {
        self.brokers.iter().try_for_each(|broker| self.give_vips(broker))
    }

    /// The same for broker `index`.
    pub fn give_broker_the_vips(&self, index: usize) -> Result<()> {
        self.give_vips(&self.brokers[index])
    }

    fn give_vips(&self, broker: &Namespace) -> Result<()> {
        broker.sysctl(&[
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
        ])?;
        let lines =
            Family::ALL.map(|family| format!("addr add {} dev lo\n", self.vip(family).ip()));
        broker.ip(&lines.concat())
    }

    fn broker_link(&self) -> u8 {
        match self.arms {
            Arms::One => FRONT,
            Arms::Two => BACK,
        }
    }

    fn build_switch(&self) -> Result<()> {
        self.switch.sysctl(&[("net.ipv6.conf.default.disable_ipv6", "1")])?;
        for link in [FRONT, BACK] {
            // Snooping would hold back neighbour discovery, for want of a querier.
            self.switch.ip(&format!(
                "link add br{link} type bridge mcast_snooping 0\nlink set br{link} up\n"
            ))?;
        }
        Ok(())
    }

    fn build_balancer(&mut self) -> Result<()> {
        self.make_balancer(&self.balancer.clone(), BALANCER_HOST)
    }

    /// Makes one more balancer's namespace beside the first one's.
    pub fn add_balancer(&mut self) -> Result<Namespace> {
        let namespace = Namespace::new()?;
        self.make_balancer(&namespace, SECOND_BALANCER_HOST)?;
        Ok(namespace)
    }

    fn make_balancer(&mut self, namespace: &Namespace, host: u8) -> Result<()> {
        quiet_ipv6(namespace)?;
        namespace.sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
            // A packet the data plane has rewritten and hands to the kernel, because it knows no
            // neighbour yet, comes from an address of this host.
            ("net.ipv4.conf.all.accept_local", "1"),
        ])?;
        for (interface, link) in self.interfaces().iter().zip([FRONT, BACK]) {
            self.connect(namespace, interface, link, true)?;
            namespace.ip(&add_address(interface, link, host))?;
        }
        for family in Family::ALL {
            let vip = self.vip(family).ip();
            namespace.ip(&format!("addr add {vip} dev lo\n"))?;
        }
        Ok(())
    }

    fn build_clients(&mut self) -> Result<()> {
        let namespace = self.clients.clone();
        quiet_ipv6(&namespace)?;
        self.connect(&namespace, "eth0", FRONT, false)?;
        let addresses: String = (0..CLIENT_ADDRESSES)
            .map(|i| add_address("eth0", FRONT, FIRST_CLIENT_HOST + i))
            .collect();
        namespace.ip(&(addresses + &default_routes(FRONT)))
    }

    /// Joins `interface` of `namespace`, which is made, to the bridge of `link`.
    fn connect(
        &mut self,
        namespace: &Namespace,
        interface: &str,
        link: u8,
        xdp: bool,
    ) -> Result<()> {
        let port = format!("port{}", self.ports);
        self.ports += 1;
        self.switch.ip(&format!(
            "link add {port} type veth peer name {interface} netns {}\n\
             link set {port} master br{link}\n\
             link set {port} up\n",
            namespace.name()
        ))?;
        namespace.ip(&format!("link set {interface} up\n"))?;
        namespace.run(|| offload::behave_like_a_wire(interface))??;
        self.switch.run(|| offload::behave_like_a_wire(&port))??;
        if xdp {
            self.programs.push(self.switch.run(|| xdp::attach(&port, xdp::Verdict::Pass))??);
        }
        Ok(())
    }
}

/// Addresses are usable at once, and nobody asks for routers.
fn quiet_ipv6(namespace: &Namespace) -> Result<()> {
    namespace.sysctl(&[
        ("net.ipv6.conf.all.accept_dad", "0"),
        ("net.ipv6.conf.default.accept_dad", "0"),
        ("net.ipv6.conf.default.accept_ra", "0"),
        ("net.ipv6.conf.default.router_solicitations", "0"),
    ])
}

/// The number of the host with this index, where the first has number `first`.
fn host(first: u8, index: usize) -> u8 {
    u8::try_from(index).ok().and_then(|index| first.checked_add(index)).expect("few hosts")
}

fn address(link: u8, host: u8, family: Family) -> IpAddr {
    family.pick(
        Ipv4Addr::new(10, 77, link, host),
        Ipv6Addr::new(0xfd77, link.into(), 0, 0, 0, 0, 0, host.into()),
    )
}

fn add_address(interface: &str, link: u8, host: u8) -> String {
    let (v4, v6) = (address(link, host, Family::V4), address(link, host, Family::V6));
    format!("addr add {v4}/24 dev {interface}\naddr add {v6}/64 dev {interface} nodad\n")
}

/// Through the balancer: to the VIPs, and to whatever is behind it.
fn default_routes(link: u8) -> String {
    let v4 = address(link, BALANCER_HOST, Family::V4);
    let v6 = address(link, BALANCER_HOST, Family::V6);
    format!("route add 0.0.0.0/0 via {v4}\nroute add ::/0 via {v6}\n")
}
