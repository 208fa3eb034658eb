//! Floods at the speed of a driver: SYNs that nobody means, and segments of connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_ebpf::host::Frame;
use lb_ebpf::parse::tcp_flags::{ACK, SYN};
use nix::ifaddrs::getifaddrs;

use crate::netns::Namespace;
use crate::topology::Topology;
use crate::xdp::Injector;

/// Different frames, sent one after the other, again and again.
const FRAMES: u16 = 1024;

/// How often each is sent before the next: to begin anew takes the kernel some 10 ms.
const TIMES: u32 = 32_768;

/// Where a flood seems to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One address, whether anybody has it or not.
    One(IpAddr),
    /// Ever other addresses of IPv4.
    Forged,
}

/// In no network of a topology; the forged ones lie before it.
const FIRST_FORGED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0));

/// Segments to a service, out of the switch's port towards the balancer.
#[derive(Debug)]
pub struct Flood {
    switch: Namespace,
    port: &'static str,
    forges: bool,
    frames: Vec<Vec<u8>>,
    times: u32,
}

impl Flood {
    /// SYNs from `source` to `vip`.
    pub fn new(topology: &Topology, source: Source, vip: SocketAddr) -> Result<Self> {
        Self::of(topology, source, vip, |frame| frame)
    }

    /// Segments with a PINGREQ to `vip`, each of another client of IPv4.
    pub fn of_data(topology: &Topology, vip: SocketAddr) -> Result<Self> {
        let data = |frame| Frame { flags: ACK, payload: vec![0xc0, 0], ..frame };
        // To begin anew shall not count beside them.
        Ok(Self { times: 16 * TIMES, ..Self::of(topology, Source::Forged, vip, data)? })
    }

    fn of(
        topology: &Topology,
        source: Source,
        vip: SocketAddr,
        change: impl Fn(Frame) -> Frame,
    ) -> Result<Self> {
        let to = mac(topology.balancer(), topology.interfaces()[0])?;
        let from = mac(topology.clients(), "eth0")?;
        let address = match source {
            Source::One(address) => address,
            Source::Forged => FIRST_FORGED,
        };
        let frame = |i: u16| {
            let frame = Frame::new((address, 10_000 + i), (vip.ip(), vip.port()), SYN);
            change(Frame { ethernet: (to, from), sequence: u32::from(i), ..frame }).bytes().0
        };
        Ok(Self {
            switch: topology.switch().clone(),
            port: topology.balancer_ports()[0],
            forges: source == Source::Forged,
            frames: (0..FRAMES).map(frame).collect(),
            times: TIMES,
        })
    }

    /// Sends until `enough` says so of how many were sent, but never more than `most`.
    pub fn send(&self, most: u64, enough: impl Fn(u64) -> bool + Sync) -> Result<u64> {
        self.switch.run(|| self.send_from_here(most, &enough))?
    }

    /// The same from this thread, which is in the switch's namespace.
    pub fn send_from_here(&self, most: u64, enough: impl Fn(u64) -> bool) -> Result<u64> {
        let injector = Injector::new(self.port, &self.frames[0], self.forges)?;
        let mut sent = 0;
        for frame in self.frames.iter().cycle() {
            if sent >= most || enough(sent) {
                break;
            }
            injector.send(frame, self.times)?;
            sent += u64::from(self.times);
        }
        Ok(sent)
    }
}

/// The Ethernet address of an interface.
fn mac(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let found = namespace.run(|| -> Result<Option<[u8; 6]>> {
        let mut addresses = getifaddrs()?.filter(|one| one.interface_name == interface);
        Ok(addresses.find_map(|one| one.address?.as_link_addr()?.addr()))
    })?;
    found?.with_context(|| format!("{interface} is an Ethernet of {}", namespace.name()))
}
