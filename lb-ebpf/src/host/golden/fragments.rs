//! Conversations in fragments.

use std::{vec, vec::Vec};

use lb_common::{ring::Slot, service::mode, verdict::Verdict};

use super::{
    Case, Family, Net,
    script::Script,
    segments::{answer, broker, client},
    tunnel,
};
use crate::{
    host::{Bytes, Frame, frame::internet_checksum},
    parse::tcp_flags::ACK,
};

/// A length of the first piece that leaves the TCP header whole; a multiple of eight.
const FIRST: usize = 40;

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        fragments_go_where_their_first_one_went(net),
        fragments_from_a_broker_reach_the_client(net),
        a_later_fragment_without_a_first_one_passes(net),
        fragments_of_several_segments_are_told_apart(net),
        a_first_fragment_of_no_flow_is_reset(net),
        a_first_fragment_for_somebody_else_passes_as_it_is(net),
        without_the_ports_a_first_fragment_passes(net),
        in_dsr_fragments_follow_too(net),
    ]
    .into_iter()
    .chain(
        [Family::V4, Family::V6].map(|brokers| in_a_tunnel_fragments_follow_too(net, Net(brokers))),
    )
    .collect()
}

/// A part of a segment: where it begins, how long it is, whether more follows.
type Part = (usize, usize, bool);

/// The parts that a segment of `len` bytes, its TCP header included, is sent in.
fn parts(len: usize) -> [Part; 3] {
    [(0, FIRST, true), (FIRST, 16, true), (FIRST + 16, len - FIRST - 16, false)]
}

/// An IP packet in pieces: the fragment of it with this part of what is behind its header, which
/// lies at `ip`. The checksum of TCP is that of the whole.
fn piece(net: Net, whole: &Bytes, ip: usize, (at, len, more): Part) -> Bytes {
    let mut bytes = whole.0[..ip].to_vec();
    let offset = (at / 8) as u16;
    match net.0 {
        Family::V4 => {
            let mut header = whole.0[ip..ip + 20].to_vec();
            header[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
            let flags = if more { 0x2000 } else { 0 };
            header[6..8].copy_from_slice(&(offset | flags).to_be_bytes());
            header[10..12].fill(0);
            let checksum = internet_checksum(&header);
            header[10..12].copy_from_slice(&checksum);
            bytes.extend(header);
            bytes.extend(&whole.0[ip + 20 + at..ip + 20 + at + len]);
        }
        Family::V6 => {
            let mut header = whole.0[ip..ip + 40].to_vec();
            header[4..6].copy_from_slice(&((8 + len) as u16).to_be_bytes());
            header[6] = 44;
            bytes.extend(header);
            bytes.extend([6, 0]);
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend([0xab, 0xcd, 0xef, 1]);
            bytes.extend(&whole.0[ip + 40 + at..ip + 40 + at + len]);
        }
    }
    Bytes(bytes)
}

/// The same of a packet in another one: its length is in the outer header, too.
fn wrapped_piece(net: Net, outer: Net, whole: &Bytes, part: Part) -> Bytes {
    let ip = 14 + if outer.0 == Family::V4 { 20 } else { 40 };
    let mut bytes = piece(net, whole, ip, part);
    let len = bytes.0.len();
    match outer.0 {
        Family::V4 => {
            bytes.0[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
            bytes.0[24..26].fill(0);
            let checksum = internet_checksum(&bytes.0[14..34]);
            bytes.0[24..26].copy_from_slice(&checksum);
        }
        Family::V6 => bytes.0[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes()),
    }
    bytes
}

fn segment(net: Net) -> Frame {
    Frame { tos: 0x28, ..client(net, ACK, 0, 0, &[0x5a; 90]) }
}

fn len(frame: &Frame) -> usize {
    20 + frame.payload.len()
}

impl Script {
    fn part(self, from: &Frame, to: &Frame, part: Part, verdict: Verdict) -> Self {
        let net = self.net();
        let [input, output] = [from, to].map(|frame| piece(net, &frame.bytes(), 14, part));
        self.expect(input, verdict, output)
    }

    /// All parts of a frame come out as those of another one.
    fn in_parts(self, from: &Frame, to: &Frame, verdict: Verdict) -> Self {
        let [first, second, last] = parts(len(from));
        self.part(from, to, first, verdict).part(from, to, last, Verdict::FragmentFollowed).part(
            from,
            to,
            second,
            Verdict::FragmentFollowed,
        )
    }

    fn passes(self, frame: &Frame, part: Part, verdict: Verdict) -> Self {
        self.part(frame, frame, part, verdict)
    }
}

fn fragments_go_where_their_first_one_went(net: Net) -> Case {
    let segment = segment(net);
    let [_, second, _] = parts(len(&segment));
    Script::new(net)
        .handshake()
        .in_parts(&segment, &net.to_broker(&segment), Verdict::ToBackend)
        .reaches_broker(&client(net, ACK, 90, 0, b"\xc0\x00"))
        .passes(&Frame { ttl: 1, ..segment }, second, Verdict::TtlExpired)
        .case("fragments_go_where_their_first_one_went")
}

fn fragments_from_a_broker_reach_the_client(net: Net) -> Case {
    let segment = broker(net, ACK, 0, 0, &[0xa5; 77]);
    Script::new(net)
        .handshake()
        .in_parts(&segment, &net.to_client(&segment), Verdict::ToClient)
        .case("fragments_from_a_broker_reach_the_client")
}

fn a_later_fragment_without_a_first_one_passes(net: Net) -> Case {
    let segment = segment(net);
    let [first, second, last] = parts(len(&segment));
    Script::new(net)
        .handshake()
        .passes(&segment, second, Verdict::Fragment)
        .part(&segment, &net.to_broker(&segment), first, Verdict::ToBackend)
        .part(&segment, &net.to_broker(&segment), last, Verdict::FragmentFollowed)
        .case("a_later_fragment_without_a_first_one_passes")
}

fn fragments_of_several_segments_are_told_apart(net: Net) -> Case {
    let segment = segment(net);
    let [first, second, _] = parts(len(&segment));
    let stranger = Frame { source: net.client(2), ..segment.clone() };
    let script = Script::new(net)
        .handshake()
        .part(&segment, &net.to_broker(&segment), first, Verdict::ToBackend)
        .passes(&stranger, second, Verdict::Fragment);
    let script = if net.0 == Family::V4 {
        let other = Frame { label: 0x4321, ..segment.clone() };
        script.passes(&other, second, Verdict::Fragment)
    } else {
        script
    };
    script.case("fragments_of_several_segments_are_told_apart")
}

fn a_first_fragment_of_no_flow_is_reset(net: Net) -> Case {
    let segment = Frame { tos: 0, ..segment(net) };
    let [first, second, _] = parts(len(&segment));
    let input = piece(net, &segment.bytes(), 14, first);
    Script::new(net)
        .expect(input, Verdict::UnknownFlowReset, answer(&segment).bytes())
        .passes(&segment, second, Verdict::Fragment)
        .case("a_first_fragment_of_no_flow_is_reset")
}

fn a_first_fragment_for_somebody_else_passes_as_it_is(net: Net) -> Case {
    let ssh = Frame { destination: (net.vip().0, 22), ..segment(net) };
    let [first, second, _] = parts(len(&ssh));
    Script::new(net)
        .passes(&ssh, first, Verdict::NotOurs)
        .passes(&ssh, second, Verdict::Fragment)
        .case("a_first_fragment_for_somebody_else_passes_as_it_is")
}

fn without_the_ports_a_first_fragment_passes(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .passes(&segment(net), (0, 16, true), Verdict::BadLength)
        .case("without_the_ports_a_first_fragment_passes")
}

fn in_dsr_fragments_follow_too(net: Net) -> Case {
    let segment = segment(net);
    Script::in_world(net, net.direct_world(mode::DSR))
        .in_parts(&segment, &net.directly(&segment, 1), Verdict::ToBackend)
        .case("in_dsr_fragments_follow_too")
}

fn in_a_tunnel_fragments_follow_too(net: Net, brokers: Net) -> Case {
    let mut world = net.direct_world(mode::IPIP);
    brokers.add_backend(&mut world, 1, brokers.broker(1));
    world.rings.insert(Net::SERVICE, Slot::stable(1));
    let segment = segment(net);
    let whole = tunnel::between(net, brokers, &segment);
    let mut script = Script::in_world(net, world);
    for (part, verdict) in parts(len(&segment)).into_iter().zip([
        Verdict::ToBackend,
        Verdict::FragmentFollowed,
        Verdict::FragmentFollowed,
    ]) {
        let input = piece(net, &segment.bytes(), 14, part);
        script = script.expect(input, verdict, wrapped_piece(net, brokers, &whole, part));
    }
    script.case(if brokers.0 == Family::V4 {
        "in_an_ipv4_tunnel_fragments_follow_too"
    } else {
        "in_an_ipv6_tunnel_fragments_follow_too"
    })
}
