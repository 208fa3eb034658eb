//! Conversations in mode `ipip`, with brokers of either family.

use std::{
    format,
    net::{IpAddr, Ipv6Addr},
    vec,
    vec::Vec,
};

use lb_common::{
    flow::flow_hash,
    ring::{
        Slot,
        slot_flags::{LEARN, LOOKUP},
    },
    service::{ServiceKey, mode},
    tunnel::TunnelSource,
    verdict::Verdict,
};

use super::{
    Case, Family, GATEWAY_MAC, Net, OUR_MAC, SILENT_HOST, broker_mac,
    script::Script,
    segments::{client, syn},
};
use crate::{
    host::{Bytes, Frame, Icmp, Tunnelled, World},
    parse::tcp_flags::ACK,
};

/// Clients in one family, brokers in the same or the other one.
#[derive(Clone, Copy)]
struct Mix {
    clients: Net,
    brokers: Net,
}

/// A segment as it leaves for broker 1, in a tunnel of its own family.
pub(super) fn to_broker(net: Net, frame: &Frame) -> Bytes {
    between(net, net, frame)
}

/// A segment as it leaves for broker 1 of another family, or of the same.
pub(super) fn between(clients: Net, brokers: Net, frame: &Frame) -> Bytes {
    Mix { clients, brokers }.to_broker(frame, 1)
}

/// The packet of `error` as it leaves for broker 1, in the tunnel that `frame` would leave in.
pub(super) fn around(net: Net, frame: &Frame, error: &Icmp) -> Bytes {
    let mix = Mix { clients: net, brokers: net };
    let wrapped = mix.wrapped(frame, net.broker(1).0);
    let packet = error.bytes().0.split_off(14);
    Tunnelled { ethernet: (broker_mac(1), OUR_MAC), tos: error.tos, packet, ..wrapped }.bytes()
}

pub(super) fn all(clients: Net) -> Vec<Case> {
    [Family::V4, Family::V6].into_iter().flat_map(|family| mixed(clients, Net(family))).collect()
}

fn mixed(clients: Net, brokers: Net) -> Vec<Case> {
    let mix = Mix { clients, brokers };
    let mut cases = vec![
        a_segment_is_wrapped_for_its_broker(mix),
        in_a_tunnel_too_a_flow_stays_where_it_is(mix),
        a_wrapped_segment_may_be_routed(mix),
        a_segment_that_fits_without_its_wrapping_only_is_too_big(mix),
        a_wrapped_segment_for_an_unknown_neighbour_is_left_to_the_kernel(mix),
        without_a_prefix_for_sources_nothing_is_wrapped(mix),
    ];
    for case in &mut cases {
        case.name = format!("in {:?}: {}", brokers.0, case.name);
    }
    cases
}

impl Mix {
    fn world(self, slot: Slot) -> World {
        let mut world = self.clients.direct_world(mode::IPIP);
        for number in [1, 2] {
            let broker = self.brokers.broker(number);
            self.brokers.add_backend(&mut world, number.into(), broker);
        }
        world.rings.insert(Net::SERVICE, slot);
        world
    }

    fn script(self, slot: Slot) -> Script {
        Script::in_world(self.clients, self.world(slot))
    }

    /// What a segment from the client looks like on the way to `broker`, before somebody gave it
    /// other Ethernet addresses.
    fn wrapped(self, frame: &Frame, broker: IpAddr) -> Tunnelled {
        let ((source, port), (vip, vip_port)) = (frame.source, frame.destination);
        let key = ServiceKey::tcp(vip.into(), vip_port.to_be_bytes()).hash_key(Net::SEED);
        let hash = flow_hash(key, source.into(), port.to_be_bytes());
        let h = hash.to_le_bytes();
        let outer: IpAddr = match self.brokers.0 {
            Family::V4 => [10, 99, h[2], h[3]].into(),
            Family::V6 => {
                let host = u64::from_be_bytes([h[0], h[1], h[2], h[3], h[0], h[1], h[2], h[3]]);
                Ipv6Addr::from(0xfd00_0099 << 96 | u128::from(host)).into()
            }
        };
        let inner = Frame { ttl: frame.ttl - 1, ..frame.clone() };
        Tunnelled { label: hash as u32 & 0xf_ffff, ..Tunnelled::new(&inner, outer, broker) }
    }

    fn to_broker(self, frame: &Frame, broker: u8) -> Bytes {
        let wrapped = self.wrapped(frame, self.brokers.broker(broker).0);
        Tunnelled { ethernet: (broker_mac(broker), OUR_MAC), ..wrapped }.bytes()
    }

    /// The length of the longest packet that still fits with its wrapping.
    const fn longest_len(self) -> u16 {
        match self.brokers.0 {
            Family::V4 => 1480,
            Family::V6 => 1460,
        }
    }

    /// The longest segment that still fits with its wrapping.
    fn longest(self) -> Frame {
        let headers = if self.clients.0 == Family::V4 { 40 } else { 60 };
        let payload = vec![0x5a; usize::from(self.longest_len()) - headers];
        client(self.clients, ACK, 0, 0, &payload)
    }
}

impl Script {
    /// A segment that reaches a broker in a tunnel.
    fn through_tunnel(self, mix: Mix, frame: &Frame, broker: u8) -> Self {
        self.expect(frame.bytes(), Verdict::ToBackend, mix.to_broker(frame, broker))
    }
}

fn a_segment_is_wrapped_for_its_broker(mix: Mix) -> Case {
    let (syn, data) = (syn(mix.clients), client(mix.clients, ACK, 0, 0, b"\xc0\x00"));
    // Priority and congestion are seen from outside, too.
    let marked = Frame { tos: 0xbb, ttl: 2, label: 0, ..data.clone() };
    let other = Frame { source: mix.clients.client(2), ..data.clone() };
    mix.script(Slot::stable(1))
        .through_tunnel(mix, &syn, 1)
        .through_tunnel(mix, &data, 1)
        .through_tunnel(mix, &marked, 1)
        .through_tunnel(mix, &other, 1)
        .dropped(&Frame { ttl: 1, ..data }, Verdict::TtlExpired)
        .case("a_segment_is_wrapped_for_its_broker")
}

fn in_a_tunnel_too_a_flow_stays_where_it_is(mix: Mix) -> Case {
    let old = client(mix.clients, ACK, 1_000_000, 0, b"\xc0\x00");
    let older = Frame { source: mix.clients.client(2), ..old.clone() };
    mix.script(Slot::in_transition(1, 2).with(LOOKUP | LEARN))
        .through_tunnel(mix, &syn(mix.clients), 2)
        .through_tunnel(mix, &client(mix.clients, ACK, 0, 0, b"\xc0\x00"), 2)
        .through_tunnel(mix, &old, 2)
        .through_tunnel(mix, &older, 1)
        .case("in_a_tunnel_too_a_flow_stays_where_it_is")
}

fn a_wrapped_segment_may_be_routed(mix: Mix) -> Case {
    let mut world = mix.world(Slot::stable(7));
    let distant = mix.brokers.distant();
    mix.brokers.add_backend(&mut world, 7, distant);
    let wrapped = mix.wrapped(&syn(mix.clients), distant.0);
    let output = Tunnelled { ethernet: (GATEWAY_MAC, OUR_MAC), ..wrapped }.bytes();
    Script::in_world(mix.clients, world)
        .expect(syn(mix.clients).bytes(), Verdict::ToBackend, output)
        .case("a_wrapped_segment_may_be_routed")
}

fn a_segment_that_fits_without_its_wrapping_only_is_too_big(mix: Mix) -> Case {
    let fits = mix.longest();
    let mut too_big = fits.clone();
    too_big.payload.push(0x5a);
    mix.script(Slot::stable(2))
        .through_tunnel(mix, &fits, 2)
        .told(&too_big, mix.longest_len())
        .case("a_segment_that_fits_without_its_wrapping_only_is_too_big")
}

fn a_wrapped_segment_for_an_unknown_neighbour_is_left_to_the_kernel(mix: Mix) -> Case {
    let mut world = mix.world(Slot::stable(SILENT_HOST.into()));
    let silent = mix.brokers.silent();
    mix.brokers.add_backend(&mut world, SILENT_HOST.into(), silent);
    let syn = syn(mix.clients);
    let output = mix.wrapped(&syn, silent.0).bytes();
    Script::in_world(mix.clients, world)
        .expect(syn.bytes(), Verdict::ToBackendByKernel, output)
        .case("a_wrapped_segment_for_an_unknown_neighbour_is_left_to_the_kernel")
}

fn without_a_prefix_for_sources_nothing_is_wrapped(mix: Mix) -> Case {
    let mut world = mix.world(Slot::stable(1));
    let settings = &mut world.settings;
    match mix.brokers.0 {
        Family::V4 => settings.tunnel_v4 = TunnelSource::default(),
        Family::V6 => settings.tunnel_v6 = TunnelSource::default(),
    }
    Script::in_world(mix.clients, world)
        .dropped(&syn(mix.clients), Verdict::Inconsistent)
        .case("without_a_prefix_for_sources_nothing_is_wrapped")
}
