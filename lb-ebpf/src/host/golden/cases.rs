//! The conversations.

mod strangers;

use std::{format, vec, vec::Vec};

use lb_common::{
    backend::backend_flags::{ACCEPT, FORWARD},
    ring::Slot,
    verdict::Verdict,
};

use super::{
    Case, Family, Net, admission, affinity, direct, errors, fragments,
    script::Script,
    segments::{ack, broker, client, syn, syn_ack},
    tags, too_big, tunnel,
};
use crate::{
    host::{Bytes, Frame},
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};

/// All conversations, in both families.
#[must_use]
pub fn all() -> Vec<Case> {
    [Family::V4, Family::V6].into_iter().flat_map(family).collect()
}

fn family(family: Family) -> Vec<Case> {
    let net = Net(family);
    let mut cases = vec![
        a_connection_is_opened_used_and_closed(net),
        a_retransmitted_syn_goes_the_same_way(net),
        a_syn_of_a_live_flow_stays_with_its_broker(net),
        an_acknowledgement_without_syn_ack_proves_nothing(net),
        an_acknowledgement_of_another_number_proves_nothing(net),
        a_connection_that_only_the_broker_remembers_gives_way_to_a_new_one(net),
        data_of_a_connection_that_only_the_broker_remembers_is_answered_by_reset(net),
        without_a_free_port_a_connection_is_refused(net),
        a_segment_of_no_flow_is_reset(net),
        a_reset_of_no_flow_is_dropped(net),
        a_reply_of_no_flow_is_reset(net),
        a_service_without_backend_resets(net),
        a_removed_backend_resets_its_flows(net),
        a_segment_at_the_end_of_its_ttl_is_dropped(net),
        a_wrong_tcp_checksum_stays_wrong(net),
        an_unknown_neighbour_is_left_to_the_kernel(net),
        a_backend_without_route_is_dropped(net),
        impossible_flags_are_dropped(net),
    ];
    cases.extend(strangers::all(net));
    cases.extend(direct::all(net));
    cases.extend(tunnel::all(net));
    cases.extend(tags::all(net));
    cases.extend(affinity::all(net));
    cases.extend(admission::all(net));
    cases.extend(errors::all(net));
    cases.extend(fragments::all(net));
    cases.extend(too_big::all(net));
    for case in &mut cases {
        case.name = format!("{family:?}: {}", case.name);
    }
    cases
}

fn a_connection_is_opened_used_and_closed(net: Net) -> Case {
    let connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04dev1";
    let n = connect.len() as u32;
    Script::new(net)
        .handshake()
        .reaches_broker(&Frame { tos: 0x28, ..client(net, ACK, 0, 0, connect) })
        .reaches_client(&Frame { tos: 0x28, ttl: 3, ..broker(net, ACK, 0, n, b"\x20\x02\x00\x00") })
        .reaches_broker(&client(net, ACK, n, 4, &[]))
        .reaches_broker(&client(net, FIN | ACK, n, 4, b"\xe0\x00"))
        .reaches_client(&broker(net, FIN | ACK, 4, n + 3, &[]))
        .reaches_broker(&client(net, ACK, n + 3, 5, &[]))
        .case("a_connection_is_opened_used_and_closed")
}

fn a_retransmitted_syn_goes_the_same_way(net: Net) -> Case {
    Script::new(net)
        .reaches_broker(&syn(net))
        .change(|world| {
            world.rings.insert(Net::SERVICE, Slot::stable(2));
        })
        .reaches_broker(&syn(net))
        .case("a_retransmitted_syn_goes_the_same_way")
}

fn a_syn_of_a_live_flow_stays_with_its_broker(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .change(|world| {
            world.rings.insert(Net::SERVICE, Slot::stable(2));
        })
        .reaches_broker(&Frame { sequence: 99, ..syn(net) })
        .reaches_broker(&client(net, ACK, 0, 0, b"still here"))
        .case("a_syn_of_a_live_flow_stays_with_its_broker")
}

fn an_acknowledgement_without_syn_ack_proves_nothing(net: Net) -> Case {
    Script::new(net)
        .reaches_broker(&syn(net))
        .dropped(&ack(net), Verdict::Unproven)
        .case("an_acknowledgement_without_syn_ack_proves_nothing")
}

fn an_acknowledgement_of_another_number_proves_nothing(net: Net) -> Case {
    Script::new(net)
        .reaches_broker(&syn(net))
        .reaches_client(&syn_ack(net))
        .dropped(&client(net, ACK, 0, 100_000, b"guess"), Verdict::Unproven)
        .reaches_broker(&ack(net))
        .case("an_acknowledgement_of_another_number_proves_nothing")
}

/// Where a client, whom nobody but the broker remembers, was in its connection.
const REMNANT: u32 = 0x8000_1234;

/// A segment of the broker in that connection.
fn remnant(net: Net, flags: u8, payload: &[u8]) -> Frame {
    Frame {
        sequence: 0x4000_0000,
        acknowledgement: REMNANT,
        payload: payload.into(),
        ..net.from_broker(flags)
    }
}

/// The RST of a client in SYN-SENT, whose SYN such a segment does not acknowledge.
fn refusal(net: Net) -> Frame {
    Frame { sequence: REMNANT, window: 0, ..net.from_client(RST) }
}

fn a_connection_that_only_the_broker_remembers_gives_way_to_a_new_one(net: Net) -> Case {
    Script::new(net)
        .reaches_broker(&syn(net))
        .dropped(&refusal(net), Verdict::Unproven)
        .reaches_client(&remnant(net, ACK, &[]))
        .dropped(&Frame { sequence: REMNANT + 1, ..refusal(net) }, Verdict::Unproven)
        .dropped(&Frame { sequence: REMNANT - 1, ..refusal(net) }, Verdict::Unproven)
        // It proves nothing: the broker has not answered this client.
        .dropped(
            &Frame { acknowledgement: REMNANT, ..client(net, ACK, 0, 0, &[]) },
            Verdict::Unproven,
        )
        .reaches_broker(&refusal(net))
        .handshake()
        .reaches_broker(&client(net, ACK, 0, 0, b"hello"))
        .case("a_connection_that_only_the_broker_remembers_gives_way_to_a_new_one")
}

fn data_of_a_connection_that_only_the_broker_remembers_is_answered_by_reset(net: Net) -> Case {
    Script::new(net)
        .reaches_broker(&syn(net))
        .reaches_client(&remnant(net, FIN | ACK, b"a message for somebody else"))
        .reaches_broker(&refusal(net))
        // A client that gives up tells the broker as before.
        .reaches_broker(&client(net, RST, 0, 0, &[]))
        .reaches_broker(&syn(net))
        .reaches_client(&syn_ack(net))
        // From here on the broker has answered for this connection.
        .dropped(&refusal(net), Verdict::Unproven)
        .reaches_broker(&ack(net))
        .case("data_of_a_connection_that_only_the_broker_remembers_is_answered_by_reset")
}

fn without_a_free_port_a_connection_is_refused(net: Net) -> Case {
    let other = Frame { source: net.client(2), ..syn(net) };
    Script::new(net)
        .handshake()
        .dropped(&other, Verdict::PortsExhausted)
        .reaches_broker(&client(net, ACK, 0, 0, b"unharmed"))
        .case("without_a_free_port_a_connection_is_refused")
}

fn a_segment_of_no_flow_is_reset(net: Net) -> Case {
    Script::new(net)
        .reset(&client(net, ACK, 7, 9, b"from before"), Verdict::UnknownFlowReset)
        .case("a_segment_of_no_flow_is_reset")
}

fn a_reset_of_no_flow_is_dropped(net: Net) -> Case {
    Script::new(net)
        .dropped(&client(net, RST, 7, 9, &[]), Verdict::StrayReset)
        .case("a_reset_of_no_flow_is_dropped")
}

fn a_reply_of_no_flow_is_reset(net: Net) -> Case {
    Script::new(net)
        .reset(&broker(net, ACK, 3, 4, b"late"), Verdict::UnknownReply)
        .dropped(&broker(net, RST, 3, 4, &[]), Verdict::StrayReset)
        .case("a_reply_of_no_flow_is_reset")
}

fn a_service_without_backend_resets(net: Net) -> Case {
    let mut world = net.world();
    world.rings.insert(Net::SERVICE, Slot::EMPTY);
    Script::in_world(net, world)
        .reset(&syn(net), Verdict::NoBackendReset)
        .case("a_service_without_backend_resets")
}

fn a_removed_backend_resets_its_flows(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .change(|world| {
            world.rings.insert(Net::SERVICE, Slot::stable(2));
            world.backends.entry(1).and_modify(|backend| backend.flags &= !(FORWARD | ACCEPT));
        })
        .reset(&client(net, ACK, 0, 0, b"anybody?"), Verdict::BackendGone)
        .dropped(&client(net, RST, 0, 0, &[]), Verdict::StrayReset)
        .case("a_removed_backend_resets_its_flows")
}

fn a_segment_at_the_end_of_its_ttl_is_dropped(net: Net) -> Case {
    Script::new(net)
        .handshake()
        .dropped(&Frame { ttl: 1, ..client(net, ACK, 0, 0, b"far") }, Verdict::TtlExpired)
        .case("a_segment_at_the_end_of_its_ttl_is_dropped")
}

fn a_wrong_tcp_checksum_stays_wrong(net: Net) -> Case {
    let frame = client(net, ACK, 0, 0, b"data!");
    let spoil = |mut bytes: Bytes| {
        *bytes.0.last_mut().expect("a frame has bytes") ^= 0x20;
        bytes
    };
    let output = spoil(net.to_broker(&frame).bytes());
    Script::new(net)
        .handshake()
        .expect(spoil(frame.bytes()), Verdict::ToBackend, output)
        .case("a_wrong_tcp_checksum_stays_wrong")
}

fn an_unknown_neighbour_is_left_to_the_kernel(net: Net) -> Case {
    let mut world = net.world();
    net.add_backend(&mut world, 5, net.silent());
    world.rings.insert(Net::SERVICE, Slot::stable(5));
    let frame = syn(net);
    let output =
        Frame { ethernet: frame.ethernet, destination: net.silent(), ..net.to_broker(&frame) };
    Script::in_world(net, world)
        .expect(frame.bytes(), Verdict::ToBackendByKernel, output.bytes())
        .case("an_unknown_neighbour_is_left_to_the_kernel")
}

fn a_backend_without_route_is_dropped(net: Net) -> Case {
    let mut world = net.world();
    net.add_backend(&mut world, 6, net.unreachable());
    world.rings.insert(Net::SERVICE, Slot::stable(6));
    Script::in_world(net, world)
        .dropped(&syn(net), Verdict::NoRoute)
        .case("a_backend_without_route_is_dropped")
}

fn impossible_flags_are_dropped(net: Net) -> Case {
    Script::new(net)
        .dropped(&net.from_client(SYN | FIN), Verdict::BadTcpFlags)
        .dropped(&net.from_client(SYN | RST), Verdict::BadTcpFlags)
        .dropped(&net.from_client(0), Verdict::BadTcpFlags)
        .case("impossible_flags_are_dropped")
}
