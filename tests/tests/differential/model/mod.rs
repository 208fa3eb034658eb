//! What should become of a frame, written down a second time: from plain bytes to plain bytes, with
//! tables that are maps of the standard library. It shares no code with the pipeline.

mod direct;
mod fragments;
mod handshake;
mod hash;
mod icmp;
mod mqtt;
mod nat;
mod network;
pub mod packet;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    counters::BackendCounters,
    verdict::{Action, Verdict},
};

pub use self::{
    direct::{Opening, Tracked},
    nat::{NatFlow, Owner, Port},
};
use self::{
    fragments::Fragments,
    network::{OUR_MAC, Route, route},
    packet::{
        ACK, FIN, IP, RST, SYN, Segment, be16, checksum, header_len, hop, ip_at, is_v6, octets,
        parse, put_addresses, put16, tos,
    },
};
use super::setup::{FIRST_PORT, Mode, Setup};

/// What is left to the program: which of the free ports it takes, and whether it finds none among
/// those that it tries.
pub trait Choice {
    /// The source port that it gave the handshake of this client, if it has one now.
    fn port(&mut self, client: SocketAddr) -> Option<u16>;
    /// Whether the program says that it found none.
    fn found_none(&mut self) -> bool;
}

/// What became of a frame.
pub type Fate = (Verdict, Vec<u8>);

/// The state, which is public where it is compared.
pub struct Model {
    pub setup: Setup,
    pub now: u32,
    pub openings: BTreeMap<SocketAddr, Opening>,
    pub tracked: BTreeMap<SocketAddr, Tracked>,
    pub learned: BTreeMap<SocketAddr, Tracked>,
    /// Slots with flows that did not get into `learned`.
    pub missed: BTreeSet<usize>,
    pub handshakes: BTreeMap<SocketAddr, NatFlow>,
    pub flows: BTreeMap<SocketAddr, NatFlow>,
    /// By broker and port; one that was never used is not there.
    pub ports: BTreeMap<(u32, u16), Port>,
    fragments: Fragments,
    pub counters: BTreeMap<u32, BackendCounters>,
    pub verdicts: BTreeMap<&'static str, u64>,
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug)]
struct Way {
    kind: Kind,
    broker: u32,
    to_broker: bool,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Translated { source: SocketAddr, destination: SocketAddr },
    Direct(IpAddr),
    Tunnelled { broker: IpAddr, hash: u32 },
}

impl Model {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            now: 0,
            openings: BTreeMap::new(),
            tracked: BTreeMap::new(),
            learned: BTreeMap::new(),
            missed: BTreeSet::new(),
            handshakes: BTreeMap::new(),
            flows: BTreeMap::new(),
            ports: BTreeMap::new(),
            fragments: Fragments::default(),
            counters: BTreeMap::new(),
            verdicts: BTreeMap::new(),
        }
    }

    /// What becomes of a frame, counted.
    pub fn frame(&mut self, frame: &[u8], choice: &mut impl Choice) -> Fate {
        let fate = self.tagged(frame, choice);
        *self.verdicts.entry(fate.0.name()).or_default() += 1;
        fate
    }

    /// Lets so many ticks pass for everything that is known.
    pub fn pass(&mut self, ticks: u32) {
        let flows = self.flows.values_mut().chain(self.handshakes.values_mut());
        let tracked = self.tracked.values_mut().chain(self.learned.values_mut());
        let openings = self.openings.values_mut();
        let seen = flows.map(|flow| &mut flow.seen).chain(tracked.map(|flow| &mut flow.seen));
        let seen = seen.chain(openings.map(|opening| &mut opening.seen));
        let rests = self.ports.values_mut().filter_map(|port| match &mut port.owner {
            Owner::RestsSince(since) => Some(since),
            Owner::Flow(_) => None,
        });
        seen.chain(rests).for_each(|tick| *tick -= ticks);
    }

    /// How often there was this verdict.
    pub fn count_of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.name()).copied().unwrap_or(0)
    }

    /// Takes up to two tags off, and puts them back behind the addresses.
    fn tagged(&mut self, frame: &[u8], choice: &mut impl Choice) -> Fate {
        let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8]));
        let tags = if is_tag(12) && ip_at(frame, 16).is_some() {
            4
        } else if is_tag(12) && is_tag(16) && ip_at(frame, 20).is_some() {
            8
        } else {
            return self.untagged(frame, choice);
        };
        let (addresses, rest) = frame.split_at(12);
        let (tags, rest) = rest.split_at(tags);
        let (verdict, out) = self.untagged(&[addresses, rest].concat(), choice);
        let out = [&out[..12], tags, &out[12..]].concat();
        if verdict.action() == Action::Forward && !self.setup.one_armed {
            return (Verdict::TaggedElsewhere, out);
        }
        (verdict, out)
    }

    fn untagged(&mut self, frame: &[u8], choice: &mut impl Choice) -> Fate {
        match parse(frame) {
            Ok(segment) => match self.segment(frame, &segment, choice) {
                (Verdict::TooBig, mtu, _) => icmp::too_big(frame, mtu),
                (verdict, _, out) => (verdict, out),
            },
            Err(Verdict::NotTcp) => self.icmp(frame),
            Err(Verdict::Fragment) => self.fragment(frame, choice),
            Err(verdict) => (verdict, frame.to_vec()),
        }
    }

    /// Of what is too big also how many bytes would fit.
    fn segment(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        choice: &mut impl Choice,
    ) -> (Verdict, usize, Vec<u8>) {
        let unchanged = |verdict: Verdict| (verdict, 0, frame.to_vec());
        match self.way(frame, segment, choice) {
            Ok(way) => self.send(frame, segment, &way, write_tcp),
            Err(verdict) if verdict.action() != Action::Reply => unchanged(verdict),
            Err(_) if segment.has(RST) => unchanged(Verdict::StrayReset),
            Err(verdict) => (verdict, 0, reset(frame, segment)),
        }
    }

    fn way(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        choice: &mut impl Choice,
    ) -> Result<Way, Verdict> {
        if let Some(broker) = self.peer(segment) {
            return self.lead_broker(frame, segment, broker);
        }
        if segment.destination != self.setup.vip() {
            return Err(Verdict::NotOurs);
        }
        let contradicts = segment.has(SYN) && segment.has(FIN | RST);
        if contradicts || !segment.has(SYN | ACK | RST) {
            return Err(Verdict::BadTcpFlags);
        }
        if self.setup.mode == Mode::Nat {
            self.lead_client(frame, segment, choice)
        } else {
            self.lead_client_directly(segment)
        }
    }

    /// The broker that a segment comes from, if it comes to one of our ports.
    fn peer(&self, segment: &Segment) -> Option<u32> {
        let port = segment.destination.port();
        let is_ours = (FIRST_PORT..FIRST_PORT + self.setup.ports).contains(&port);
        if !is_ours || segment.destination.ip() != self.setup.source() {
            return None;
        }
        let broker = self.setup.brokers.iter().position(|one| one.address == segment.source)?;
        Some(broker as u32 + 1)
    }

    fn broker(&self, number: u32) -> super::setup::Broker {
        self.setup.brokers[number as usize - 1]
    }

    fn count(&mut self, broker: u32) -> &mut BackendCounters {
        self.counters.entry(broker).or_default()
    }

    fn no_backend(&self) -> Verdict {
        if self.setup.reset_without_backend {
            Verdict::NoBackendReset
        } else {
            Verdict::NoBackendDrop
        }
    }

    fn unknown_flow(&self) -> Verdict {
        if self.setup.reset_unknown { Verdict::UnknownFlowReset } else { Verdict::UnknownFlowDrop }
    }

    /// Rewrites a packet for its way, if there is one; `write` knows what it holds.
    fn send(
        &mut self,
        frame: &[u8],
        segment: &Segment,
        way: &Way,
        write: impl FnOnce(&mut [u8], SocketAddr, SocketAddr),
    ) -> (Verdict, usize, Vec<u8>) {
        let mut out = frame.to_vec();
        if segment.ttl <= 1 {
            return (Verdict::TtlExpired, 0, out);
        }
        let is_direct = matches!(way.kind, Kind::Direct(_));
        let (to, outer) = match way.kind {
            Kind::Translated { destination, .. } => (destination.ip(), 0),
            Kind::Direct(broker) => (broker, 0),
            Kind::Tunnelled { broker, .. } => (broker, header_len(broker.is_ipv6())),
        };
        let by_kernel = match route(to, segment.len + outer) {
            Route::Via { on_link: false, .. } if is_direct => return (Verdict::NotOnLink, 0, out),
            Route::NoNeighbour if is_direct => return (Verdict::NoNeighbour, 0, out),
            Route::None => return (Verdict::NoRoute, 0, out),
            Route::TooBig(mtu) => return (Verdict::TooBig, mtu - outer, out),
            Route::NoNeighbour => true,
            Route::Via { mac, .. } => {
                out[..6].copy_from_slice(&mac);
                out[6..12].copy_from_slice(&OUR_MAC);
                false
            }
        };
        let ip = frame[IP..].to_vec();
        match way.kind {
            Kind::Translated { source, destination } => {
                write(&mut out, source, destination);
                put_addresses(&mut out, IP, source.ip(), destination.ip());
                hop(&mut out, IP, &ip);
            }
            Kind::Direct(_) => hop(&mut out, IP, &ip),
            Kind::Tunnelled { broker, hash } => {
                hop(&mut out, IP, &ip);
                out = wrap(&out, segment.len, tunnel_source(broker, hash), broker, hash);
            }
        }
        let len = segment.len as u64;
        let counters = self.count(way.broker);
        if way.to_broker {
            counters.packets_to_backend += 1;
            counters.bytes_to_backend += len;
        } else {
            counters.packets_to_client += 1;
            counters.bytes_to_client += len;
        }
        let verdict = match (by_kernel, way.to_broker) {
            (false, _) => way.verdict,
            (true, true) => Verdict::ToBackendByKernel,
            (true, false) => Verdict::ToClientByKernel,
        };
        (verdict, 0, out)
    }
}

/// Ports of a segment, and its checksum with them and with the addresses.
fn write_tcp(out: &mut [u8], source: SocketAddr, destination: SocketAddr) {
    let v6 = is_v6(out);
    let tcp = IP + header_len(v6);
    let [from, to] = packet::addresses_at(IP, v6);
    let width = if v6 { 16 } else { 4 };
    let before = [&out[from..from + width], &out[to..to + width], &out[tcp..tcp + 4]].concat();
    put16(out, tcp, source.port());
    put16(out, tcp + 2, destination.port());
    let after = [octets(source.ip()), octets(destination.ip()), out[tcp..tcp + 4].to_vec()];
    let old = be16(out, tcp + 16);
    put16(out, tcp + 16, packet::carried(old, &[(&before, &after.concat())]));
}

/// An address of the prefix that outer addresses are taken from: its last bits are those of the
/// hash, as they lie in memory.
fn tunnel_source(broker: IpAddr, hash: u32) -> IpAddr {
    let [a, b, c, d] = hash.to_le_bytes();
    if broker.is_ipv4() {
        IpAddr::from([10, 99, c, d])
    } else {
        IpAddr::from([0xfd, 0, 0, 0x99, 0, 0, 0, 0, a, b, c, d, a, b, c, d])
    }
}

/// A packet of `len` bytes in another one.
fn wrap(frame: &[u8], len: usize, source: IpAddr, destination: IpAddr, label: u32) -> Vec<u8> {
    let v6 = destination.is_ipv6();
    let (tos, inside) = (tos(frame), if is_v6(frame) { 41 } else { 4 });
    let mut outer = vec![0; header_len(v6)];
    if v6 {
        put16(&mut outer, 0, 0x6000 | u16::from(tos) << 4 | (label >> 16 & 15) as u16);
        put16(&mut outer, 2, label as u16);
        put16(&mut outer, 4, len as u16);
        (outer[6], outer[7]) = (inside, 64);
    } else {
        (outer[0], outer[1]) = (0x45, tos);
        put16(&mut outer, 2, len as u16 + 20);
        outer[6] = 0x40;
        (outer[8], outer[9]) = (64, inside);
    }
    put_addresses(&mut outer, 0, source, destination);
    if !v6 {
        let checksum = checksum(&[&outer]);
        put16(&mut outer, 10, checksum);
    }
    let kind: [u8; 2] = if v6 { [0x86, 0xdd] } else { [0x08, 0] };
    [&frame[..12], &kind, &outer, &frame[IP..]].concat()
}

/// The RST that answers a segment (RFC 9293, section 3.10.7.1).
fn reset(frame: &[u8], segment: &Segment) -> Vec<u8> {
    let v6 = is_v6(frame);
    let mut tcp = vec![0; 20];
    put16(&mut tcp, 0, segment.destination.port());
    put16(&mut tcp, 2, segment.source.port());
    if segment.has(ACK) {
        tcp[4..8].copy_from_slice(&segment.acknowledgement.to_be_bytes());
        tcp[13] = RST;
    } else {
        tcp[8..12].copy_from_slice(&segment.next_sequence().to_be_bytes());
        tcp[13] = RST | ACK;
    }
    tcp[12] = 5 << 4;
    let (source, destination) = (segment.destination.ip(), segment.source.ip());
    let pseudo = [&octets(source)[..], &octets(destination), &[0, 6, 0, 20]].concat();
    let sum = checksum(&[&pseudo, &tcp]);
    put16(&mut tcp, 16, sum);
    let mut ip = answer_header(frame, 6, 20, source, destination);
    if v6 {
        // Class and label stay.
        ip[..4].copy_from_slice(&frame[IP..IP + 4]);
    }
    [&frame[6..12], &frame[..6], &frame[12..IP], &ip, &tcp].concat()
}

/// The IP header of an answer that is made here.
fn answer_header(
    frame: &[u8],
    protocol: u8,
    len: u16,
    source: IpAddr,
    destination: IpAddr,
) -> Vec<u8> {
    let v6 = is_v6(frame);
    let mut ip = vec![0; header_len(v6)];
    if v6 {
        ip[0] = 0x60;
        put16(&mut ip, 4, len);
        (ip[6], ip[7]) = (protocol, 64);
    } else {
        ip[0] = 0x45;
        put16(&mut ip, 2, len + 20);
        ip[6] = 0x40;
        (ip[8], ip[9]) = (64, protocol);
    }
    put_addresses(&mut ip, 0, source, destination);
    if !v6 {
        let sum = checksum(&[&ip]);
        put16(&mut ip, 10, sum);
    }
    ip
}
