//! A flood: SYNs that nobody means, out of the clients' interface, as fast as one thread sends them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use lb_ebpf::host::Frame;
use lb_ebpf::parse::tcp_flags::SYN;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};

use crate::netns::Namespace;
use crate::topology::Topology;

/// Different SYNs, sent one after the other, again and again.
const FRAMES: usize = 8192;

/// SYNs to a service.
#[derive(Debug)]
pub struct Flood {
    socket: OwnedFd,
    frames: Vec<Vec<u8>>,
}

impl Flood {
    /// From `sources`, whether the clients' interface has these addresses or not, to `vip`.
    pub fn new(topology: &Topology, sources: &[IpAddr], vip: SocketAddr) -> Result<Self> {
        let interface = topology.interfaces()[0];
        let gateway = link_address(topology.balancer(), interface)?;
        let own = link_address(topology.clients(), "eth0")?;
        let ethernet = (mac(gateway)?, mac(own)?);
        let frame = |i: usize| {
            let source = (sources[i % sources.len()], 1024 + (i % 60_000) as u16);
            let frame = Frame::new(source, (vip.ip(), vip.port()), SYN);
            Frame { ethernet, sequence: i as u32, ..frame }.bytes().0
        };
        let socket = topology.clients().run(|| -> Result<OwnedFd> {
            // For no protocol: it receives nothing.
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &own)?;
            Ok(socket)
        })?;
        let socket = socket.context("open a packet socket")?;
        Ok(Self { socket, frames: (0..FRAMES).map(frame).collect() })
    }

    /// Sends SYNs until `enough` says so of how many were sent, but never more than `most`.
    pub fn send(&self, most: u64, enough: impl Fn(u64) -> bool) -> Result<u64> {
        let mut sent = 0;
        for frame in self.frames.iter().cycle() {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => sent += 1,
                // The queue is full: that one is lost, as on any link.
                Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
                Err(error) => return Err(error).context("send a SYN"),
            }
            if sent >= most || sent % 256 == 0 && enough(sent) {
                break;
            }
        }
        Ok(sent)
    }
}

/// The Ethernet address and the index of an interface.
fn link_address(namespace: &Namespace, interface: &str) -> Result<LinkAddr> {
    let found = namespace.run(|| -> Result<Option<LinkAddr>> {
        let mut addresses = getifaddrs()?.filter(|one| one.interface_name == interface);
        Ok(addresses.find_map(|one| one.address?.as_link_addr().copied()))
    })?;
    found?.with_context(|| format!("{interface} is an interface of {}", namespace.name()))
}

fn mac(link: LinkAddr) -> Result<[u8; 6]> {
    link.addr().context("an Ethernet interface has an address")
}
