//! Packets on the host of a broker, some of them wrapped by a balancer.

use std::{format, net::IpAddr, string::String, vec, vec::Vec};

use lb_common::{addr::Addr, decap::DecapVerdict};

use super::{Family, Net};
use crate::{
    decap::Lists,
    host::{Bytes, Frame, Tunnelled, frame::internet_checksum},
    parse::tcp_flags::ACK,
};

/// The lists of a broker's host.
#[derive(Clone, Debug)]
pub struct BrokerHost {
    /// Prefixes that may wrap, with their length.
    pub from: Vec<(IpAddr, u8)>,
    /// Addresses that wrapped packets are sent to.
    pub to: Vec<IpAddr>,
    /// Addresses that packets inside may be sent to.
    pub vips: Vec<IpAddr>,
}

impl BrokerHost {
    /// Broker 1 of the golden network, in both families.
    #[must_use]
    pub fn golden() -> Self {
        let nets = [Net(Family::V4), Net(Family::V6)];
        Self {
            from: vec![([10, 99, 0, 0].into(), 16), (wrapper(nets[1], 0), 64)],
            to: nets.map(|net| net.broker(1).0).into(),
            vips: nets.map(|net| net.vip().0).into(),
        }
    }
}

impl Lists for BrokerHost {
    fn may_wrap(&self, source: Addr) -> bool {
        self.from.iter().any(|(prefix, bits)| match (IpAddr::from(source), prefix) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(*bits)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(*bits)
            }
            _ => false,
        })
    }

    fn is_own(&self, destination: Addr) -> bool {
        self.to.contains(&destination.into())
    }

    fn is_vip(&self, destination: Addr) -> bool {
        self.vips.contains(&destination.into())
    }
}

/// A frame, and what must come of it on [`BrokerHost::golden`].
#[derive(Clone, Debug)]
pub struct DecapCase {
    /// What it proves, in snake case, with the families in front.
    pub name: String,
    /// The frame.
    pub input: Bytes,
    /// Its verdict.
    pub verdict: DecapVerdict,
    /// The frame afterwards.
    pub output: Bytes,
}

/// All of them: every mix of families inside and outside.
#[must_use]
pub fn all() -> Vec<DecapCase> {
    let families = [Family::V4, Family::V6];
    let mut cases = Vec::new();
    for (inner, outer) in families.into_iter().flat_map(|inner| families.map(|o| (inner, o))) {
        let mix = Mix { inner: Net(inner), outer: Net(outer) };
        let named = mix.unwrapped().into_iter().chain(mix.untouched());
        cases.extend(named.map(|case| DecapCase {
            name: format!("{inner:?} in {outer:?}: {}", case.name),
            ..case
        }));
    }
    cases
}

#[derive(Clone, Copy)]
struct Mix {
    inner: Net,
    outer: Net,
}

/// An address that may wrap.
fn wrapper(outer: Net, host: u8) -> IpAddr {
    match outer.0 {
        Family::V4 => [10, 99, 200, host].into(),
        Family::V6 => [0xfd00, 0x99, 0, 0, 0, 0, 0, u16::from(host)].into(),
    }
}

fn case(name: &str, input: Bytes, verdict: DecapVerdict, output: Bytes) -> DecapCase {
    DecapCase { name: name.into(), input, verdict, output }
}

impl Mix {
    fn segment(self) -> Frame {
        Frame { payload: b"\xc0\x00".into(), ..self.inner.from_client(ACK) }
    }

    fn wrap(self, frame: &Frame) -> Tunnelled {
        Tunnelled::new(frame, wrapper(self.outer, 7), self.outer.broker(1).0)
    }

    fn unwrapped(self) -> Vec<DecapCase> {
        let good = |name: &str, input: Bytes, output: Bytes| {
            case(name, input, DecapVerdict::Unwrapped, output)
        };
        let segment = self.segment();
        let wrapped = self.wrap(&segment).bytes();
        let mut padded = wrapped.clone();
        padded.0.extend([0; 6]);
        let mut padded_output = segment.bytes();
        padded_output.0.extend([0; 6]);
        let able = Frame { tos: 0xba, ..self.segment() };
        let marked = Tunnelled { tos: 0xbb, ..self.wrap(&able) }.bytes();
        let hears = Frame { tos: 0xbb, ..self.segment() }.bytes();
        let bare = segment.bytes();
        vec![
            good("a_segment_comes_out_as_it_was", wrapped, bare.clone()),
            good("padding_behind_the_packet_stays", padded, padded_output),
            good("congestion_marked_on_the_way_is_told", marked, hears),
            good(
                "a_message_of_icmp_comes_out_as_it_was",
                self.carrying(self.echo()),
                self.alone(self.echo()),
            ),
            good(
                "a_later_fragment_comes_out_as_it_was",
                self.carrying(self.later_fragment()),
                self.alone(self.later_fragment()),
            ),
        ]
    }

    fn untouched(self) -> Vec<DecapCase> {
        use DecapVerdict as V;
        let (segment, good) = (self.segment(), self.wrap(&self.segment()));
        let other_vip = Frame { destination: self.inner.source(), ..segment.clone() };
        let wrap_bytes = |change: &dyn Fn(&mut Tunnelled)| {
            let mut wrapped = good.clone();
            change(&mut wrapped);
            wrapped.bytes()
        };
        let other = 4 + 41 - good.protocol;
        let stranger = self.outer.client(9).0;
        let mut cases: Vec<(&str, Bytes, V)> = vec![
            ("what_is_not_wrapped_passes", segment.bytes(), V::NotTunnelled),
            ("a_stranger_may_not_wrap", wrap_bytes(&|w| w.source = stranger), V::ForeignSource),
            (
                "what_is_for_another_host_passes",
                wrap_bytes(&|w| w.destination = self.outer.broker(2).0),
                V::NotToUs,
            ),
            ("only_a_vip_is_served", self.wrap(&other_vip).bytes(), V::NotToVip),
            ("the_other_family_is_not_inside", wrap_bytes(&|w| w.protocol = other), V::BadInner),
            ("udp_is_not_unwrapped", self.carrying(self.with_protocol(17)), V::InnerProtocol),
            (
                "a_packet_cut_short_is_not_whole",
                wrap_bytes(&|w| w.packet.truncate(w.packet.len() - 1)),
                V::BadInner,
            ),
            (
                "bytes_behind_the_packet_inside_are_not_its_own",
                wrap_bytes(&|w| w.packet.push(0)),
                V::BadInner,
            ),
            ("congestion_unheard_is_a_loss", wrap_bytes(&|w| w.tos = 3), V::CongestionUnheard),
            ("an_empty_tunnel_carries_nothing", wrap_bytes(&|w| w.packet.clear()), V::BadInner),
        ];
        let mut short = good.bytes();
        short.0.pop();
        cases.push(("a_frame_cut_short_is_not_whole", short, V::BadOuter));
        if self.inner.0 == Family::V4 {
            let spoilt = wrap_bytes(&|w| w.packet[10] ^= 1);
            cases.push(("a_wrong_checksum_inside_is_seen", spoilt, V::BadInner));
        }
        if self.outer.0 == Family::V4 {
            for (name, offset, bits, verdict) in [
                ("a_wrong_outer_checksum_is_seen", 10, 0x01, V::BadOuter),
                ("a_fragment_of_a_tunnel_is_not_unwrapped", 6, 0x20, V::OuterFragment),
                ("outer_options_are_not_unwrapped", 0, 0x03, V::OuterOptions),
            ] {
                let mut bytes = good.bytes();
                bytes.0[14 + offset] ^= bits;
                cases.push((name, bytes, verdict));
            }
        }
        let unchanged =
            |(name, bytes, verdict): (&str, Bytes, V)| case(name, bytes.clone(), verdict, bytes);
        cases.into_iter().map(unchanged).collect()
    }

    /// The packet of another protocol inside a tunnel.
    fn carrying(self, packet: Vec<u8>) -> Bytes {
        Tunnelled { packet, ..self.wrap(&self.segment()) }.bytes()
    }

    /// The packet in a frame of its own.
    fn alone(self, packet: Vec<u8>) -> Bytes {
        let mut bytes = self.segment().bytes();
        bytes.0.truncate(14);
        bytes.0.extend(packet);
        bytes
    }

    /// The segment's packet, said to be of this protocol.
    fn with_protocol(self, protocol: u8) -> Vec<u8> {
        let mut packet = self.segment().bytes().0.split_off(14);
        match self.inner.0 {
            Family::V4 => packet[9] = protocol,
            Family::V6 => packet[6] = protocol,
        }
        self.with_checksum(packet)
    }

    fn echo(self) -> Vec<u8> {
        self.with_protocol(if self.inner.0 == Family::V4 { 1 } else { 58 })
    }

    /// A fragment at offset 1480, too short for a header of TCP.
    fn later_fragment(self) -> Vec<u8> {
        let segment = Frame { payload: Vec::new(), ..self.segment() };
        let mut packet = segment.bytes().0.split_off(14);
        match self.inner.0 {
            Family::V4 => {
                packet.truncate(28);
                packet[2..4].copy_from_slice(&28u16.to_be_bytes());
                packet[6..8].copy_from_slice(&(1480u16 / 8).to_be_bytes());
            }
            Family::V6 => {
                packet.truncate(40);
                packet[4..6].copy_from_slice(&12u16.to_be_bytes());
                packet[6] = 44;
                packet.extend([6, 0]);
                packet.extend(1480u16.to_be_bytes());
                packet.extend([0, 0, 0, 1, 0xab, 0xcd, 0xef, 0x01]);
            }
        }
        self.with_checksum(packet)
    }

    fn with_checksum(self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.inner.0 == Family::V4 {
            packet[10..12].fill(0);
            let checksum = internet_checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&checksum);
        }
        packet
    }
}
