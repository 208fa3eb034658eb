//! Conversations about ICMP errors.

use std::{net::IpAddr, vec, vec::Vec};

use lb_common::{
    ring::{
        Slot,
        slot_flags::{LEARN, LOOKUP},
    },
    service::mode,
    verdict::Verdict,
};

use super::{
    Case, Family, GATEWAY_MAC, Net, OUR_MAC, broker_mac,
    script::Script,
    segments::{ack, broker, client, syn, syn_ack},
    tunnel,
};
use crate::{
    host::{Frame, Icmp},
    parse::tcp_flags::ACK,
};

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        errors_about_a_brokers_segments_reach_the_broker(net),
        errors_about_a_clients_segments_reach_the_client(net),
        an_error_in_the_handshake_reaches_the_client(net),
        an_error_changes_no_state(net),
        an_error_that_does_not_fit_the_connection_passes(net),
        an_error_about_no_connection_passes(net),
        an_error_that_quotes_something_else_passes(net),
        an_error_at_the_end_of_its_ttl_is_dropped(net),
        other_messages_pass(net),
        in_dsr_an_error_reaches_the_owner_of_the_flow(net),
        in_a_tunnel_an_error_reaches_its_broker_too(net),
    ]
}

/// Somebody on the way, whom nobody knows.
fn router(net: Net) -> IpAddr {
    net.client(250).0
}

/// The kinds of errors that there are, with the second word of their header.
fn kinds(net: Net) -> [([u8; 2], [u8; 4]); 4] {
    match net.0 {
        Family::V4 => [
            ([3, 4], [0, 0, 0x05, 0x14]),
            ([3, 1], [0; 4]),
            ([11, 0], [0; 4]),
            ([12, 0], [20, 0, 0, 0]),
        ],
        Family::V6 => [
            ([2, 0], [0, 0, 0x05, 0x14]),
            ([1, 3], [0; 4]),
            ([3, 0], [0; 4]),
            ([4, 1], [0, 0, 0, 6]),
        ],
    }
}

/// The packet in a frame, as far as a router quotes it that leaves all but `tcp` bytes of it out.
pub(super) fn quoted(net: Net, frame: &Frame, tcp: usize) -> Vec<u8> {
    let mut packet = frame.bytes().0.split_off(14);
    packet.truncate(tcp + if net.0 == Family::V4 { 20 } else { 40 });
    packet
}

/// What some router says about a frame on its way.
pub(super) fn about(net: Net, frame: &Frame, tcp: usize) -> Icmp {
    let (kind, word) = kinds(net)[1];
    let body = quoted(net, frame, tcp);
    Icmp { word, tos: 0xc0, ..Icmp::new(router(net), frame.source.0, kind, body) }
}

/// A segment of broker 1 as the client's side of the balancer sees it, and as the broker sent it.
fn to_client(net: Net, payload: &[u8]) -> [Frame; 2] {
    let sent = Frame { ttl: 50, ..broker(net, ACK, 0, 0, payload) };
    [Frame { source: net.vip(), destination: net.client(1), ..sent.clone() }, sent]
}

/// A segment of the client as the brokers' side of the balancer sees it, and as the client sent it.
fn to_broker(net: Net, payload: &[u8]) -> [Frame; 2] {
    let sent = Frame { ttl: 50, ..client(net, ACK, 0, 0, payload) };
    [Frame { source: net.source(), destination: net.broker(1), ..sent.clone() }, sent]
}

impl Script {
    /// An error of every kind, with a short and a long quote, about the first of `frames`, comes
    /// out as if it were about the second, from `source`.
    fn translated(
        self,
        frames: &[Frame; 2],
        source: IpAddr,
        mac: [u8; 6],
        verdict: Verdict,
    ) -> Self {
        let net = self.net();
        let [seen, sent] = frames;
        let mut script = self;
        for (kind, word) in kinds(net) {
            for tcp in [8, 16, 18, 20, 100] {
                let input = Icmp { kind, word, ..about(net, seen, tcp) };
                let output = Icmp {
                    ethernet: (mac, OUR_MAC),
                    source,
                    destination: sent.source.0,
                    body: quoted(net, sent, tcp),
                    ttl: input.ttl - 1,
                    ..input.clone()
                };
                script = script.expect(input.bytes(), verdict, output.bytes());
            }
        }
        script
    }

    fn reaches_the_broker(self, frames: &[Frame; 2]) -> Self {
        let source = self.net().source().0;
        self.translated(frames, source, broker_mac(1), Verdict::IcmpToBackend)
    }

    fn reaches_the_client(self, frames: &[Frame; 2]) -> Self {
        let source = self.net().vip().0;
        self.translated(frames, source, GATEWAY_MAC, Verdict::IcmpToClient)
    }

    fn unrelated(self, error: &Icmp) -> Self {
        self.unchanged(&error.bytes(), Verdict::IcmpUnrelated)
    }
}

fn errors_about_a_brokers_segments_reach_the_broker(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .reaches_client(&broker(net, ACK, 0, 0, &[0x31; 90]))
        .reaches_the_broker(&to_client(net, &[0x31; 90]))
        .case("errors_about_a_brokers_segments_reach_the_broker")
}

fn errors_about_a_clients_segments_reach_the_client(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .reaches_broker(&client(net, ACK, 0, 0, &[0x31; 91]))
        .reaches_the_client(&to_broker(net, &[0x31; 91]))
        .case("errors_about_a_clients_segments_reach_the_client")
}

fn an_error_in_the_handshake_reaches_the_client(net: Net) -> Case {
    let seen = Frame { source: net.source(), destination: net.broker(1), ..syn(net) };
    let answer = Frame { source: net.vip(), destination: net.client(1), ..syn_ack(net) };
    Script::new(net)
        .reaches_broker(&syn(net))
        .reaches_the_client(&[seen, syn(net)])
        .unrelated(&about(net, &answer, 8))
        .reaches_client(&syn_ack(net))
        .reaches_the_broker(&[answer, syn_ack(net)])
        .reaches_broker(&ack(net))
        .case("an_error_in_the_handshake_reaches_the_client")
}

fn an_error_changes_no_state(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .reaches_the_broker(&to_client(net, &[]))
        .reaches_the_client(&to_broker(net, &[]))
        .reaches_broker(&client(net, ACK, 0, 0, b"still here"))
        .reaches_client(&broker(net, ACK, 0, 10, b"so am I"))
        .case("an_error_changes_no_state")
}

fn an_error_that_does_not_fit_the_connection_passes(net: Net) -> Case {
    let [seen_by_client, _] = to_client(net, &[]);
    let [seen_by_broker, _] = to_broker(net, &[]);
    let far = |frame: Frame, by: u32| {
        about(net, &Frame { sequence: frame.sequence.wrapping_add(by), ..frame }, 8)
    };
    Script::new(net)
        .handshake()
        .unrelated(&far(seen_by_client.clone(), 70_000))
        .unrelated(&far(seen_by_client, 0x8000_0000))
        .unrelated(&far(seen_by_broker.clone(), 70_000))
        .unrelated(&far(seen_by_broker, 0_u32.wrapping_sub(70_000)))
        .case("an_error_that_does_not_fit_the_connection_passes")
}

fn an_error_about_no_connection_passes(net: Net) -> Case {
    let [seen_by_client, _] = to_client(net, &[]);
    let [seen_by_broker, _] = to_broker(net, &[]);
    let another = Frame { destination: net.client(2), ..seen_by_client.clone() };
    let ssh = Frame { source: (net.vip().0, 22), ..seen_by_client.clone() };
    Script::new(net)
        .unrelated(&about(net, &seen_by_client, 8))
        .unrelated(&about(net, &seen_by_broker, 8))
        .handshake()
        .unrelated(&about(net, &another, 8))
        .unrelated(&about(net, &ssh, 8))
        .case("an_error_about_no_connection_passes")
}

fn an_error_that_quotes_something_else_passes(net: Net) -> Case {
    let [seen, _] = to_client(net, &[]);
    let whole = about(net, &seen, 20);
    let changed = |at: usize, to: u8| {
        let mut error = whole.clone();
        error.body[at] = to;
        error
    };
    let elsewhere = Icmp { destination: net.source().0, ..whole.clone() };
    let mut padded = about(net, &seen, 4).bytes();
    padded.0.extend([0; 4]);
    let v4 = net.0 == Family::V4;
    let script = Script::new(net)
        .handshake()
        .unrelated(&elsewhere)
        .unrelated(&about(net, &seen, 7))
        .unchanged(&padded, Verdict::IcmpUnrelated)
        .unrelated(&changed(0, 0x75))
        .unrelated(&changed(if v4 { 9 } else { 6 }, 17));
    let script =
        if v4 { script.unrelated(&changed(0, 0x46)).unrelated(&changed(7, 1)) } else { script };
    script.case("an_error_that_quotes_something_else_passes")
}

fn an_error_at_the_end_of_its_ttl_is_dropped(net: Net) -> Case {
    let [seen, _] = to_client(net, &[]);
    let error = Icmp { ttl: 1, ..about(net, &seen, 8) };
    Script::new(net)
        .handshake()
        .unchanged(&error.bytes(), Verdict::TtlExpired)
        .case("an_error_at_the_end_of_its_ttl_is_dropped")
}

fn other_messages_pass(net: Net) -> Case {
    let [seen, _] = to_client(net, &[]);
    let kinds = match net.0 {
        Family::V4 => [[8, 0], [0, 0], [5, 1]],
        Family::V6 => [[128, 0], [129, 0], [137, 0]],
    };
    let mut script = Script::new(net).handshake();
    for kind in kinds {
        let message = Icmp { kind, ..about(net, &seen, 8) };
        script = script.unchanged(&message.bytes(), Verdict::NotTcp);
    }
    let mut cut = about(net, &seen, 8).bytes();
    cut.0.truncate(if net.0 == Family::V4 { 35 } else { 55 });
    script.unchanged(&cut, Verdict::NotTcp).case("other_messages_pass")
}

fn in_dsr_an_error_reaches_the_owner_of_the_flow(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    world.rings.insert(Net::SERVICE, Slot::in_transition(1, 2).with(LOOKUP | LEARN));
    let [seen, _] = to_client(net, &[]);
    let error = about(net, &seen, 8);
    let at = |number| Icmp { ethernet: (broker_mac(number), OUR_MAC), ttl: 63, ..error.clone() };
    Script::in_world(net, world)
        .expect(error.bytes(), Verdict::IcmpToBackend, at(1).bytes())
        .directly(&syn(net), 2)
        .expect(error.bytes(), Verdict::IcmpToBackend, at(1).bytes())
        .directly(&client(net, ACK, 0, 0, b"\xc0\x00"), 2)
        .expect(error.bytes(), Verdict::IcmpToBackend, at(2).bytes())
        .case("in_dsr_an_error_reaches_the_owner_of_the_flow")
}

fn in_a_tunnel_an_error_reaches_its_broker_too(net: Net) -> Case {
    let mut world = net.direct_world(mode::IPIP);
    world.rings.insert(Net::SERVICE, Slot::stable(1));
    let [seen, _] = to_client(net, &[]);
    let error = about(net, &seen, 8);
    let inner = Icmp { ttl: 63, ..error.clone() };
    let output = tunnel::around(net, &client(net, ACK, 0, 0, &[]), &inner);
    Script::in_world(net, world)
        .expect(error.bytes(), Verdict::IcmpToBackend, output)
        .case("in_a_tunnel_an_error_reaches_its_broker_too")
}
