//! Conversations of clients that stay together.

use std::{vec, vec::Vec};

use lb_common::{
    affinity::Affinity,
    ring::{Slot, slot_of},
    service::mode,
    verdict::Verdict,
};

use super::{
    Case, Family, Net, OUR_MAC, broker_mac,
    script::Script,
    segments::{client, syn},
};
use crate::{
    host::{Frame, World},
    parse::tcp_flags::ACK,
};

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        connections_of_a_client_stay_together(net),
        connections_of_a_prefix_stay_together(net),
        in_nat_too_the_port_does_not_choose(net),
    ]
}

/// Broker 2 has the slot of client 1, broker 1 all others.
fn world(net: Net, mode: u8, affinity: Affinity) -> World {
    let mut world = net.direct_world(mode);
    world.services.values_mut().for_each(|service| service.affinity = affinity);
    let (address, port) = net.client(1);
    for service in world.services.values() {
        let hash = service.flow_hash(address.into(), port.to_be_bytes());
        world.slots.insert((service.id, slot_of(hash)), Slot::stable(2));
    }
    world
}

/// A SYN of a client, from this port of it.
fn from(net: Net, number: u8, port: u16) -> Frame {
    Frame { source: (net.client(number).0, port), ..syn(net) }
}

fn connections_of_a_client_stay_together(net: Net) -> Case {
    Script::in_world(net, world(net, mode::DSR, Affinity::client(128)))
        .directly(&from(net, 1, Net::CLIENT_PORT), 2)
        .directly(&from(net, 1, 1), 2)
        .directly(&from(net, 1, 65_535), 2)
        .directly(&client(net, ACK, 0, 0, b"\xc0\x00"), 2)
        .directly(&from(net, 2, Net::CLIENT_PORT), 1)
        .case("connections_of_a_client_stay_together")
}

fn connections_of_a_prefix_stay_together(net: Net) -> Case {
    let bits = if net.0 == Family::V4 { 96 + 24 } else { 64 };
    let stranger = Frame { source: (net.broker(9).0, 7), ..syn(net) };
    Script::in_world(net, world(net, mode::DSR, Affinity::client(bits)))
        .directly(&from(net, 1, 7), 2)
        .directly(&from(net, 2, 8), 2)
        .directly(&from(net, 9, 9), 2)
        .directly(&stranger, 1)
        .case("connections_of_a_prefix_stay_together")
}

fn in_nat_too_the_port_does_not_choose(net: Net) -> Case {
    let (own, other) = (from(net, 1, 1), from(net, 2, 1));
    let second = Frame {
        ethernet: (broker_mac(2), OUR_MAC),
        destination: net.broker(2),
        ..net.to_broker(&own)
    };
    Script::in_world(net, world(net, mode::NAT, Affinity::client(128)))
        .expect(own.bytes(), Verdict::ToBackend, second.bytes())
        .reaches_broker(&other)
        .case("in_nat_too_the_port_does_not_choose")
}
