//! Conversations in the modes in which brokers answer directly.

use std::{vec, vec::Vec};

use lb_common::{
    backend::backend_flags::{ACCEPT, FORWARD},
    ring::{
        NO_BACKEND, Slot,
        slot_flags::{LEARN, LOOKUP},
    },
    service::mode,
    verdict::Verdict,
};

use super::{
    Case, Net, SILENT_HOST,
    script::Script,
    segments::{client, syn},
};
use crate::{
    host::{Frame, World},
    parse::tcp_flags::{ACK, FIN, RST},
};

/// From broker 1 to broker 2, with everything that a packet may look at switched on.
const MOVING: Slot = Slot::in_transition(1, 2).with(LOOKUP | LEARN);

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        a_stable_slot_needs_no_table(net),
        on_a_slot_in_transition_new_flows_go_to_the_new_owner(net),
        a_forged_syn_does_not_move_an_untracked_flow(net),
        a_repeated_syn_of_a_tracked_flow_stays_with_it(net),
        a_retransmitted_syn_stays_with_its_first_choice(net),
        without_room_for_a_handshake_the_old_owner_takes_it(net),
        a_tracked_flow_stays_when_its_slot_goes_back(net),
        a_learned_flow_stays_when_its_slot_moves_on(net),
        a_direct_service_without_backend_resets(net),
        flows_of_a_backend_that_is_gone_are_reset(net),
        behind_a_router_nobody_gets_a_frame(net),
        nobody_else_asks_for_an_unknown_neighbour(net),
    ]
}

fn dsr(net: Net, slot: Slot) -> Script {
    let mut world = net.direct_world(mode::DSR);
    world.rings.insert(Net::SERVICE, slot);
    Script::in_world(net, world)
}

fn data(net: Net) -> Frame {
    client(net, ACK, 0, 0, b"\xc0\x00")
}

/// A segment of a connection that is far away from its SYN.
fn old(net: Net) -> Frame {
    client(net, ACK, 1_000_000, 0, b"\xc0\x00")
}

fn slot(slot: Slot) -> impl FnOnce(&mut World) {
    move |world| {
        world.services.values_mut().for_each(|service| service.mode = mode::DSR);
        world.rings.insert(Net::SERVICE, slot);
    }
}

fn a_stable_slot_needs_no_table(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    (world.pending_room, world.flows_room, world.learned_room) = (1, 1, 1);
    let other = Frame { source: net.client(2), ..syn(net) };
    Script::in_world(net, world)
        .directly(&syn(net), 1)
        .directly(&other, 1)
        .directly(&data(net), 1)
        .directly(&client(net, FIN | ACK, 2, 0, &[]), 1)
        .directly(&client(net, RST, 3, 0, &[]), 1)
        .case("a_stable_slot_needs_no_table")
}

fn on_a_slot_in_transition_new_flows_go_to_the_new_owner(net: Net) -> Case {
    let older = Frame { source: net.client(2), ..old(net) };
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .directly(&data(net), 2)
        .directly(&old(net), 2)
        .directly(&older, 1)
        .case("on_a_slot_in_transition_new_flows_go_to_the_new_owner")
}

fn a_forged_syn_does_not_move_an_untracked_flow(net: Net) -> Case {
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .directly(&old(net), 1)
        .directly(&client(net, RST, 2_000_000, 0, &[]), 1)
        .directly(&old(net), 1)
        .case("a_forged_syn_does_not_move_an_untracked_flow")
}

fn a_repeated_syn_of_a_tracked_flow_stays_with_it(net: Net) -> Case {
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .directly(&data(net), 2)
        .change(slot(Slot::in_transition(1, 1).with(LOOKUP)))
        .directly(&Frame { sequence: 77, ..syn(net) }, 2)
        .directly(&client(net, RST, 5, 0, &[]), 2)
        .directly(&old(net), 2)
        .case("a_repeated_syn_of_a_tracked_flow_stays_with_it")
}

fn a_retransmitted_syn_stays_with_its_first_choice(net: Net) -> Case {
    let again = Frame { sequence: 3_000_000, ..syn(net) };
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .change(slot(Slot::in_transition(1, 1).with(LOOKUP)))
        .directly(&again, 2)
        .directly(&Frame { sequence: 3_000_001, ..data(net) }, 2)
        .case("a_retransmitted_syn_stays_with_its_first_choice")
}

fn without_room_for_a_handshake_the_old_owner_takes_it(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    world.rings.insert(Net::SERVICE, MOVING);
    world.pending_room = 1;
    let other = Frame { source: net.client(2), ..syn(net) };
    let out = net.directly(&other, 1).bytes();
    Script::in_world(net, world)
        .directly(&syn(net), 2)
        .expect(other.bytes(), Verdict::ToBackendUntracked, out)
        .directly(&Frame { source: net.client(2), ..data(net) }, 1)
        .case("without_room_for_a_handshake_the_old_owner_takes_it")
}

fn a_tracked_flow_stays_when_its_slot_goes_back(net: Net) -> Case {
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .directly(&data(net), 2)
        .change(slot(Slot::stable(1).with(LOOKUP)))
        .directly(&old(net), 2)
        .case("a_tracked_flow_stays_when_its_slot_goes_back")
}

fn a_learned_flow_stays_when_its_slot_moves_on(net: Net) -> Case {
    dsr(net, MOVING)
        .directly(&old(net), 1)
        .change(slot(Slot::stable(2).with(LOOKUP)))
        .directly(&old(net), 1)
        .directly(&client(net, FIN | ACK, 1_000_002, 0, &[]), 1)
        .directly(&old(net), 1)
        .case("a_learned_flow_stays_when_its_slot_moves_on")
}

fn a_direct_service_without_backend_resets(net: Net) -> Case {
    dsr(net, Slot::EMPTY)
        .reset(&syn(net), Verdict::NoBackendReset)
        .reset(&old(net), Verdict::UnknownFlowReset)
        .change(slot(Slot::in_transition(1, NO_BACKEND).with(LOOKUP)))
        .reset(&syn(net), Verdict::NoBackendReset)
        .directly(&old(net), 1)
        .case("a_direct_service_without_backend_resets")
}

fn flows_of_a_backend_that_is_gone_are_reset(net: Net) -> Case {
    dsr(net, MOVING)
        .directly(&syn(net), 2)
        .directly(&data(net), 2)
        .change(|world| {
            slot(Slot::stable(1).with(LOOKUP))(world);
            world.backends.entry(2).and_modify(|backend| backend.flags &= !(FORWARD | ACCEPT));
        })
        .reset(&old(net), Verdict::BackendGone)
        .case("flows_of_a_backend_that_is_gone_are_reset")
}

fn behind_a_router_nobody_gets_a_frame(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    net.add_backend(&mut world, 7, net.distant());
    world.rings.insert(Net::SERVICE, Slot::stable(7));
    Script::in_world(net, world)
        .dropped(&syn(net), Verdict::NotOnLink)
        .case("behind_a_router_nobody_gets_a_frame")
}

fn nobody_else_asks_for_an_unknown_neighbour(net: Net) -> Case {
    let mut world = net.direct_world(mode::DSR);
    net.add_backend(&mut world, SILENT_HOST.into(), net.silent());
    world.rings.insert(Net::SERVICE, Slot::stable(SILENT_HOST.into()));
    Script::in_world(net, world)
        .dropped(&syn(net), Verdict::NoNeighbour)
        .case("nobody_else_asks_for_an_unknown_neighbour")
}
