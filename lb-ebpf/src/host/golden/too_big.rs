//! Conversations about what does not fit.

use std::{vec, vec::Vec};

use lb_common::verdict::Verdict;

use super::{
    Case, Family, Net,
    errors::{about, quoted},
    script::Script,
    segments::{broker, client},
};
use crate::{
    host::{Bytes, Frame, Icmp, frame::internet_checksum},
    parse::tcp_flags::ACK,
};

pub(super) fn all(net: Net) -> Vec<Case> {
    let mut cases =
        vec![both_sides_are_told_what_fits(net), an_error_that_is_too_big_is_not_answered(net)];
    if net.0 == Family::V4 {
        cases.push(what_may_be_fragmented_is_not_answered(net));
    }
    cases
}

/// What the balancer says to the sender of `frame`, of which `mtu` bytes would fit.
pub(super) fn answer(net: Net, frame: &Frame, mtu: u16) -> Bytes {
    let [a, b] = mtu.to_be_bytes();
    let (kind, tcp) = match net.0 {
        Family::V4 => ([3, 4], 8),
        Family::V6 => ([2, 0], 20),
    };
    let answer = Icmp::new(frame.destination.0, frame.source.0, kind, quoted(net, frame, tcp));
    let ethernet = (frame.ethernet.1, frame.ethernet.0);
    Icmp { ethernet, word: [0, 0, a, b], dont_fragment: true, ..answer }.bytes()
}

impl Script {
    pub(super) fn told(self, frame: &Frame, mtu: u16) -> Self {
        let output = answer(self.net(), frame, mtu);
        self.expect(frame.bytes(), Verdict::TooBigAnswered, output)
    }
}

fn both_sides_are_told_what_fits(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .told(&client(net, ACK, 0, 0, &[0x55; 1500]), 1500)
        .told(&broker(net, ACK, 0, 0, &[0x55; 1461]), 1500)
        .reaches_broker(&client(net, ACK, 0, 0, &[0x55; 1440]))
        .case("both_sides_are_told_what_fits")
}

fn an_error_that_is_too_big_is_not_answered(net: Net) -> Case {
    let seen = broker(net, ACK, 0, 0, &[0x55; 1480]);
    let seen = Frame { source: net.vip(), destination: net.client(1), ..seen };
    Script::new(net)
        .handshake()
        .unchanged(&about(net, &seen, 1480).bytes(), Verdict::TooBig)
        .case("an_error_that_is_too_big_is_not_answered")
}

fn what_may_be_fragmented_is_not_answered(net: Net) -> Case {
    let mut bytes = client(net, ACK, 0, 0, &[0x55; 1500]).bytes();
    bytes.0[20] = 0;
    bytes.0[24..26].fill(0);
    let checksum = internet_checksum(&bytes.0[14..34]);
    bytes.0[24..26].copy_from_slice(&checksum);
    Script::new(net)
        .handshake()
        .unchanged(&bytes, Verdict::TooBig)
        .case("what_may_be_fragmented_is_not_answered")
}
