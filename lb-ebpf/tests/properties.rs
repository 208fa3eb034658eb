//! What holds for every packet.
#![cfg(feature = "host")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::verdict::{Action, Verdict};
use lb_ebpf::{
    host::{
        Bytes, Frame,
        golden::{Family, Net},
    },
    parse::{self, Segment},
    reset,
    rewrite::{self, Translation},
};
use proptest::{collection::vec, prelude::*};

fn segment_of(frame: &Frame) -> Segment {
    parse::segment(&frame.bytes()).expect("a frame built whole parses")
}

prop_compose! {
    fn addresses(v6: bool)(octets: [[u8; 16]; 4]) -> [IpAddr; 4] {
        octets.map(|o| {
            if v6 { Ipv6Addr::from(o).into() } else { Ipv4Addr::new(o[0], o[1], o[2], o[3]).into() }
        })
    }
}

type Endpoints = [(IpAddr, u16); 2];

/// A frame, and another pair of endpoints of the same family.
fn frames() -> impl Strategy<Value = (Frame, Endpoints)> {
    let numbers = (any::<[u16; 4]>(), any::<[u32; 2]>());
    let octets = (any::<u8>(), 1..=255u8, any::<u8>(), any::<u16>(), any::<u16>());
    let content = (vec(any::<[u8; 4]>(), 0..=10), vec(any::<u8>(), 0..200));
    let addresses = any::<bool>().prop_flat_map(addresses);
    (addresses, numbers, octets, content).prop_map(
        |(addresses, (ports, numbers), (flags, ttl, tos, label, window), (options, payload))| {
            let [a, b, c, d] = addresses;
            let frame = Frame {
                sequence: numbers[0],
                acknowledgement: numbers[1],
                options: options.concat(),
                payload,
                ttl,
                tos,
                label,
                window,
                ..Frame::new((a, ports[0]), (b, ports[1]), flags)
            };
            (frame, [(c, ports[2]), (d, ports[3])])
        },
    )
}

fn translation([source, destination]: Endpoints) -> Translation {
    Translation {
        source: source.0.into(),
        source_port: source.1.to_be_bytes(),
        destination: destination.0.into(),
        destination_port: destination.1.to_be_bytes(),
    }
}

/// A checksum of zero words may come out as either zero of one's complement.
fn same_but_for_zero(a: &Bytes, b: &Bytes, at: usize) -> bool {
    let zero = |bytes: &Bytes| matches!(bytes.0[at..at + 2], [0, 0] | [0xff, 0xff]);
    let (mut x, mut y) = (a.clone(), b.clone());
    if zero(a) && zero(b) {
        x.0[at..at + 2].fill(0);
        y.0[at..at + 2].fill(0);
    }
    x == y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_rewritten_frame_equals_one_built_from_scratch((frame, to) in frames()) {
        let mut bytes = frame.bytes();
        let segment = segment_of(&frame);
        rewrite::translate(&mut bytes, &segment, &translation(to)).expect("whole");
        let expected = Frame {
            source: to[0],
            destination: to[1],
            ttl: frame.ttl - 1,
            ..frame.clone()
        }
        .bytes();
        let checksum = if frame.source.0.is_ipv4() { 34 + 16 } else { 54 + 16 };
        prop_assert!(same_but_for_zero(&bytes, &expected, checksum), "{bytes:?} {expected:?}");
    }

    #[test]
    fn a_hop_changes_nothing_but_the_ttl((frame, _) in frames()) {
        let mut bytes = frame.bytes();
        rewrite::hop::<{ parse::ETHERNET_LEN }>(&mut bytes, &segment_of(&frame)).expect("whole");
        let expected = Frame { ttl: frame.ttl - 1, ..frame.clone() }.bytes();
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn rewriting_there_and_back_restores_the_frame((frame, to) in frames()) {
        prop_assume!(frame.ttl > 1);
        let original = frame.bytes();
        let mut bytes = original.clone();
        let segment = segment_of(&frame);
        rewrite::translate(&mut bytes, &segment, &translation(to)).expect("whole");
        let there = parse::segment(&bytes).expect("still whole");
        let back = translation([frame.source, frame.destination]);
        rewrite::translate(&mut bytes, &there, &back).expect("whole");
        let ttl = if frame.source.0.is_ipv4() { 22 } else { 21 };
        prop_assert_eq!(bytes.0[ttl], frame.ttl - 2);
        let expected = Frame { ttl: frame.ttl - 2, ..frame.clone() }.bytes();
        let checksum = if frame.source.0.is_ipv4() { 34 + 16 } else { 54 + 16 };
        prop_assert!(same_but_for_zero(&bytes, &expected, checksum));
    }

    #[test]
    fn every_truncation_is_passed_or_rejected_unchanged((frame, _) in frames(), cut in 0..54usize) {
        let bytes = frame.bytes();
        let kept = bytes.0.len().saturating_sub(1 + cut);
        let mut short = Bytes(bytes.0[..kept].to_vec());
        let before = short.clone();
        let outcome = Net(Family::V4).world().run(&mut short);
        prop_assert_eq!(outcome.verdict, Verdict::BadLength);
        prop_assert_eq!(short, before);
    }

    #[test]
    fn any_bytes_have_a_verdict_and_pass_unchanged_unless_ours(bytes in vec(any::<u8>(), 0..200)) {
        let mut frame = Bytes(bytes);
        let before = frame.clone();
        let outcome = Net(Family::V6).world().run(&mut frame);
        prop_assert_eq!(outcome.verdict.action(), Action::Pass);
        prop_assert_eq!(frame, before);
    }

    #[test]
    fn a_mutated_frame_to_the_vip_is_never_forwarded_half_rewritten(
        v6: bool, flags: u8, at in 12..74usize, value: u8, sequence: u32,
    ) {
        let net = Net(if v6 { Family::V6 } else { Family::V4 });
        let mut frame = Frame { sequence, ..net.from_client(flags) }.bytes();
        let at = at.min(frame.0.len() - 1);
        frame.0[at] = value;
        let before = frame.clone();
        let outcome = net.world().run(&mut frame);
        match outcome.verdict.action() {
            Action::Pass | Action::Drop => prop_assert_eq!(frame, before),
            Action::Reply => prop_assert!(parse::segment(&frame).is_ok()),
            Action::Forward => {
                let sent = parse::segment(&frame).expect("what is sent is a whole segment");
                prop_assert_eq!(sent.destination, net.broker(1).0.into());
                prop_assert_eq!(sent.source, net.source().0.into());
            }
        }
    }

    #[test]
    fn a_reset_answers_with_numbers_that_the_sender_accepts((frame, _) in frames()) {
        let segment = segment_of(&frame);
        let mut bytes = frame.bytes();
        reset::answer(&mut bytes, &segment).expect("whole");
        let answer = parse::segment(&bytes).expect("an answer is a whole segment");
        prop_assert_eq!(answer.payload_len, 0);
        prop_assert!(answer.has(parse::tcp_flags::RST));
        if segment.has(parse::tcp_flags::ACK) {
            prop_assert_eq!(answer.sequence, segment.acknowledgement);
        } else {
            prop_assert_eq!(answer.acknowledgement, segment.next_sequence());
        }
        // The same answer, built from scratch.
        let header_len = bytes.0.len() - 20;
        let mut tcp = bytes.0[header_len..].to_vec();
        let sent = [tcp[16], tcp[17]];
        tcp[16..18].fill(0);
        let mut pseudo = match (frame.source.0, frame.destination.0) {
            (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
            (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
            _ => unreachable!("one family"),
        };
        pseudo.extend([0, 6, 0, 20]);
        pseudo.extend(tcp);
        prop_assert_eq!(sent, lb_ebpf::host::frame::internet_checksum(&pseudo));
    }
}
