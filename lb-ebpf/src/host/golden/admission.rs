//! Connections that are refused before they get a backend, or because it has enough.

use std::{vec, vec::Vec};

use lb_common::{
    addr::Addr,
    admission::{
        Admission, ListKey, Listed,
        admission_flags::{LISTED, LISTED_FOR_ALL},
    },
    affinity::Affinity,
    backend::backend_flags::LIMITED,
    load::LoadLimits,
    rate::Rate,
    ring::{Slot, slot_flags::LOOKUP},
    service::{mode, service_flags},
    verdict::Verdict,
};

use super::{
    Case, Family, Net,
    script::Script,
    segments::{ack, broker, client, syn},
};
use crate::{
    host::{Frame, World},
    parse::tcp_flags::{ACK, FIN},
};

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        a_denied_source_gets_no_connection_and_keeps_the_one_it_has(net),
        the_longer_prefix_decides_whose_list_it_may_be(net),
        a_source_that_sends_too_many_syns_is_limited_and_its_neighbour_is_not(net),
        the_sources_of_a_prefix_are_limited_together(net),
        a_backend_gets_new_connections_at_its_rate(net),
        a_full_backend_resets_until_one_of_its_connections_ends(net),
        a_full_backend_drops_where_its_service_says_so(net),
        what_is_denied_or_too_much_does_not_pass_directly(net),
        on_a_slot_in_transition_the_new_owner_is_paced(net),
    ]
}

/// So rare that no second one comes while a conversation is played.
const RARE: u64 = 1_000_000_000_000_000;

fn syn_of(net: Net, number: u8) -> Frame {
    Frame { source: net.client(number), ..syn(net) }
}

fn bits(net: Net, v4: u8, v6: u8) -> u8 {
    if net.0 == Family::V4 { 96 + v4 } else { v6 }
}

/// A list entry for the network that the clients are in.
fn network(net: Net, list: u32, denied: bool) -> (ListKey, Listed) {
    let bits = bits(net, 24, 48);
    let (first, _) = Affinity::client(bits).chooses(net.client(1).0.into(), [0; 2]);
    (ListKey::new(list, first, bits), Listed::new(bits, denied))
}

/// A list entry for one client.
fn one(net: Net, list: u32, number: u8, denied: bool) -> (ListKey, Listed) {
    let address = Addr::from(net.client(number).0);
    (ListKey::new(list, address, 128), Listed::new(128, denied))
}

fn admits(world: &mut World, admission: Admission) {
    world.services.values_mut().for_each(|service| service.flags |= service_flags::ADMITS);
    world.admissions.insert(Net::SERVICE, admission);
}

fn limited(world: &mut World, backend: u32, limits: LoadLimits) {
    world.backends.entry(backend).and_modify(|backend| backend.flags |= LIMITED);
    world.load_limits.insert(backend, limits);
}

fn paced(world: &mut World, backend: u32, burst: u32) {
    limited(world, backend, LoadLimits { new: Rate::every(RARE, burst), connections: 0 });
}

fn full_with(world: &mut World, connections: u64) {
    limited(world, 1, LoadLimits { new: Rate::UNLIMITED, connections });
}

fn a_denied_source_gets_no_connection_and_keeps_the_one_it_has(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .change(|world| {
            admits(world, Admission { flags: LISTED, ..Admission::default() });
            world.lists.extend([network(net, Net::SERVICE, true)]);
        })
        .dropped(&syn_of(net, 2), Verdict::SourceDenied)
        .reaches_broker(&client(net, ACK, 0, 0, b"still here"))
        .case("a_denied_source_gets_no_connection_and_keeps_the_one_it_has")
}

fn the_longer_prefix_decides_whose_list_it_may_be(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    let all = ListKey::all_services(net.client(1).0.into());
    admits(&mut world, Admission { flags: LISTED | LISTED_FOR_ALL, ..Admission::default() });
    world.lists.extend([
        network(net, all, true),
        one(net, all, 3, false),
        one(net, all, 4, true),
        one(net, Net::SERVICE, 2, false),
        one(net, Net::SERVICE, 4, false),
        one(net, Net::SERVICE + 1, 5, false),
    ]);
    Script::in_world(net, world)
        .dropped(&syn_of(net, 1), Verdict::SourceDenied)
        .directly(&syn_of(net, 2), 1)
        .directly(&syn_of(net, 3), 1)
        .directly(&syn_of(net, 4), 1)
        .dropped(&syn_of(net, 5), Verdict::SourceDenied)
        .case("the_longer_prefix_decides_whose_list_it_may_be")
}

fn a_source_that_sends_too_many_syns_is_limited_and_its_neighbour_is_not(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    admits(&mut world, Admission { source: Rate::every(RARE, 2), ..Admission::default() });
    let again = Frame { sequence: 77, ..syn(net) };
    Script::in_world(net, world)
        .directly(&syn(net), 1)
        .directly(&again, 1)
        .dropped(&syn(net), Verdict::SourceLimited)
        .directly(&ack(net), 1)
        .directly(&syn_of(net, 2), 1)
        .dropped(&again, Verdict::SourceLimited)
        .case("a_source_that_sends_too_many_syns_is_limited_and_its_neighbour_is_not")
}

fn the_sources_of_a_prefix_are_limited_together(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    let prefixes = Affinity::client(bits(net, 24, 48));
    let (source, prefix) = (Rate::every(RARE, 1), Rate::every(RARE, 3));
    admits(&mut world, Admission { source, prefix, prefixes, ..Admission::default() });
    Script::in_world(net, world)
        .directly(&syn_of(net, 1), 1)
        // What one source has too much does not count for the others.
        .dropped(&syn_of(net, 1), Verdict::SourceLimited)
        .dropped(&syn_of(net, 1), Verdict::SourceLimited)
        .directly(&syn_of(net, 2), 1)
        .directly(&syn_of(net, 3), 1)
        .dropped(&syn_of(net, 4), Verdict::PrefixLimited)
        .case("the_sources_of_a_prefix_are_limited_together")
}

fn a_backend_gets_new_connections_at_its_rate(net: Net) -> Case {
    let mut world = net.world();
    paced(&mut world, 1, 1);
    Script::in_world(net, world)
        .reaches_broker(&syn(net))
        .dropped(&syn_of(net, 2), Verdict::BackendPaced)
        // A retransmission is no new connection.
        .reaches_broker(&syn(net))
        .case("a_backend_gets_new_connections_at_its_rate")
}

fn a_full_backend_resets_until_one_of_its_connections_ends(net: Net) -> Case {
    let mut world = net.world();
    full_with(&mut world, 1);
    Script::in_world(net, world)
        .handshake()
        .reset(&syn_of(net, 2), Verdict::BackendFullReset)
        .reaches_broker(&client(net, FIN | ACK, 0, 0, &[]))
        .reaches_client(&broker(net, FIN | ACK, 0, 1, &[]))
        // There is room again, but the only source port is still in use.
        .dropped(&syn_of(net, 2), Verdict::PortsExhausted)
        .case("a_full_backend_resets_until_one_of_its_connections_ends")
}

fn a_full_backend_drops_where_its_service_says_so(net: Net) -> Case {
    let mut world = net.world();
    full_with(&mut world, 1);
    world.services.values_mut().for_each(|service| service.flags = 0);
    Script::in_world(net, world)
        .handshake()
        .dropped(&syn_of(net, 2), Verdict::BackendFullDrop)
        .case("a_full_backend_drops_where_its_service_says_so")
}

fn what_is_denied_or_too_much_does_not_pass_directly(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    admits(&mut world, Admission { flags: LISTED, ..Admission::default() });
    world.lists.extend([one(net, Net::SERVICE, 2, true)]);
    paced(&mut world, 1, 1);
    Script::in_world(net, world)
        .dropped(&syn_of(net, 2), Verdict::SourceDenied)
        .directly(&syn(net), 1)
        .dropped(&syn_of(net, 3), Verdict::BackendPaced)
        .directly(&ack(net), 1)
        .case("what_is_denied_or_too_much_does_not_pass_directly")
}

fn on_a_slot_in_transition_the_new_owner_is_paced(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    world.rings.insert(Net::SERVICE, Slot::in_transition(1, 2).with(LOOKUP));
    paced(&mut world, 2, 1);
    let older = Frame { source: net.client(3), ..client(net, ACK, 1_000_000, 0, b"\xc0\x00") };
    Script::in_world(net, world)
        .directly(&syn(net), 2)
        .dropped(&syn_of(net, 3), Verdict::BackendPaced)
        .directly(&syn(net), 2)
        .directly(&ack(net), 2)
        .directly(&older, 1)
        .case("on_a_slot_in_transition_the_new_owner_is_paced")
}
