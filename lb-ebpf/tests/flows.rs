//! The life of flows on the host library, with a clock that the test moves.
#![cfg(feature = "host")]

use lb_common::{
    flow::FlowKey,
    port::{Owner, port_flags},
    ring::Slot,
    verdict::Verdict,
};
use lb_ebpf::{
    host::{
        Frame, World,
        golden::{Family, Net},
    },
    parse::tcp_flags::{ACK, FIN, RST, SYN},
    tables::Tables as _,
};

const NET: Net = Net(Family::V4);
const CLIENT_ISN: u32 = 5_000;
const BROKER_ISN: u32 = 70_000;

fn send(world: &World, frame: &Frame) -> Verdict {
    world.run(&mut frame.bytes()).verdict
}

fn syn() -> Frame {
    Frame { sequence: CLIENT_ISN, ..NET.from_client(SYN) }
}

fn client(flags: u8, at: u32) -> Frame {
    Frame {
        sequence: (CLIENT_ISN + 1).wrapping_add(at),
        acknowledgement: BROKER_ISN + 1,
        ..NET.from_client(flags)
    }
}

fn broker(flags: u8, at: u32) -> Frame {
    Frame {
        sequence: (BROKER_ISN + 1).wrapping_add(at),
        acknowledgement: CLIENT_ISN + 1,
        ..NET.from_broker(flags)
    }
}

fn established() -> World {
    let world = NET.world();
    open(&world);
    world
}

fn open(world: &World) {
    assert_eq!(send(world, &syn()), Verdict::ToBackend);
    let syn_ack = Frame { sequence: BROKER_ISN, ..broker(SYN | ACK, 0) };
    assert_eq!(send(world, &syn_ack), Verdict::ToClient);
    assert_eq!(send(world, &client(ACK, 0)), Verdict::ToBackend);
}

fn key() -> FlowKey {
    let (address, port) = NET.client(1);
    FlowKey::new(address.into(), port.to_be_bytes(), Net::SERVICE)
}

fn is_closed(world: &World) -> bool {
    world.flow(&key()).expect("the flow is in the connection table").load().is_closed()
}

#[test]
fn a_completed_handshake_moves_to_the_connection_table() {
    let world = established();
    assert!(world.pending.borrow().is_empty());
    assert_eq!(world.flows.borrow().len(), 1);
    let counters = world.counters_of(1);
    assert_eq!((counters.attempted, counters.opened, counters.closed), (1, 1, 0));
    assert_eq!((counters.packets_to_backend, counters.packets_to_client), (2, 1));
}

#[test]
fn fin_of_both_sides_closes_in_either_order() {
    for fins in
        [[client(FIN | ACK, 0), broker(FIN | ACK, 0)], [broker(FIN | ACK, 0), client(FIN | ACK, 0)]]
    {
        let world = established();
        let [first, second] = fins;
        send(&world, &first);
        assert!(!is_closed(&world), "one FIN leaves the other half open");
        send(&world, &second);
        assert!(is_closed(&world));
        assert_eq!(world.counters_of(1).closed, 1);
    }
}

#[test]
fn a_reset_that_fits_closes() {
    for reset in [client(RST, 0), broker(RST, 0)] {
        let world = established();
        send(&world, &reset);
        assert!(is_closed(&world));
        assert_eq!(world.counters_of(1).closed, 1);
    }
}

#[test]
fn a_reset_or_fin_that_does_not_fit_is_forwarded_and_changes_nothing() {
    let world = established();
    for at in [0x8000_0000, 1 << 20, u32::MAX] {
        assert_eq!(send(&world, &client(RST, at)), Verdict::ToBackend);
        assert_eq!(send(&world, &client(FIN | ACK, at)), Verdict::ToBackend);
    }
    for at in [0x8000_0000, 1 << 20] {
        assert_eq!(send(&world, &broker(RST, at)), Verdict::ToClient);
        assert_eq!(send(&world, &broker(FIN | ACK, at)), Verdict::ToClient);
    }
    assert!(!is_closed(&world));
    assert_eq!(world.counters_of(1).closed, 0);
}

#[test]
fn a_flow_that_speaks_after_its_end_lives_on() {
    let world = established();
    send(&world, &client(RST, 0));
    assert!(is_closed(&world));
    send(&world, &Frame { payload: vec![0xc0, 0], ..client(ACK, 0) });
    assert!(!is_closed(&world));
    assert_eq!(world.counters_of(1).closed, 0);
}

#[test]
fn a_client_may_use_its_port_again_once_the_flow_has_ended() {
    let mut world = NET.world();
    world.settings.ports = 2;
    open_anywhere(&world);
    send(&world, &client(RST, 0));
    world.rings.insert(Net::SERVICE, Slot::stable(2));
    let again = Frame { sequence: 900_000, ..syn() };
    assert_eq!(send(&world, &again), Verdict::ToBackend);
    assert!(world.flow(&key()).is_none(), "the ended flow is forgotten");
    let pending = world.pending(&key()).expect("a new handshake is under way").load();
    assert_eq!(pending.backend(), 2, "by the ring as it is now");
}

/// A handshake whose source port is not known beforehand.
fn open_anywhere(world: &World) {
    let mut bytes = syn().bytes();
    world.run(&mut bytes);
    let nat_port = u16::from_be_bytes([bytes.0[34], bytes.0[35]]);
    let to = (NET.source().0, nat_port);
    let syn_ack = Frame { sequence: BROKER_ISN, destination: to, ..broker(SYN | ACK, 0) };
    assert_eq!(send(world, &syn_ack), Verdict::ToClient);
    assert_eq!(send(world, &client(ACK, 0)), Verdict::ToBackend);
}

#[test]
fn a_freed_port_rests_before_it_is_used_again() {
    let world = established();
    send(&world, &client(RST, 0));
    // The only source port belongs to the ended flow, and rests when that is forgotten.
    let again = Frame { sequence: 900_000, ..syn() };
    assert_eq!(send(&world, &again), Verdict::PortsExhausted);
    let port = world.port(32, 0).expect("the peer has a port");
    assert!(port.owner().has(port_flags::RESTING));
    assert_eq!(send(&world, &broker(ACK, 0)), Verdict::UnknownReply, "a late reply reaches nobody");
    world.now.set(world.now.get() + world.settings.rest_ticks);
    assert_eq!(send(&world, &again), Verdict::PortsExhausted, "not a tick too early");
    world.now.set(world.now.get() + 1);
    assert_eq!(send(&world, &again), Verdict::ToBackend);
}

#[test]
fn with_nine_ports_of_ten_in_use_most_find_one_and_the_rest_with_their_next_syn() {
    let mut world = NET.world();
    world.settings.ports = 1000;
    world.pending_room = 1000;
    let opens = |client: u16| {
        send(&world, &Frame { source: (NET.client(1).0, client), ..syn() }) == Verdict::ToBackend
    };
    let opens_for_a_moment = |client: u16| {
        let opened = opens(client);
        let key = FlowKey::new(NET.client(1).0.into(), client.to_be_bytes(), Net::SERVICE);
        if let Some(cell) = world.pending.borrow_mut().remove(&key) {
            let index = u16::from_be_bytes(cell.load().nat_port) - Net::NAT_PORT;
            let port = world.port(32, index.into()).expect("the peer has the port");
            assert!(port.take(port.owner(), Owner::FREE));
        }
        opened
    };
    let mut clients = 1..;
    while world.pending.borrow().len() < 900 {
        opens(clients.next().expect("there are enough"));
    }
    let refused: Vec<u16> = clients.take(2000).filter(|c| !opens_for_a_moment(*c)).collect();
    // At random it would be 69: that all of 32 are in use.
    assert!(refused.len() < 100, "{} of 2000", refused.len());
    world.now.set(world.now.get() + 1);
    let still = refused.iter().filter(|client| !opens_for_a_moment(**client)).count();
    assert!(still * 10 < refused.len(), "{still} of {} again", refused.len());
}

#[test]
fn a_forgotten_handshake_makes_room_for_another_choice() {
    let mut world = NET.world();
    assert_eq!(send(&world, &syn()), Verdict::ToBackend);
    world.rings.insert(Net::SERVICE, Slot::stable(2));
    world.now.set(world.now.get() + world.settings.pending_ticks + 1);
    assert_eq!(send(&world, &syn()), Verdict::ToBackend);
    assert_eq!(world.pending(&key()).expect("pending").load().backend(), 2);
}

#[test]
fn a_full_pending_table_refuses_new_connections_only() {
    let mut world = NET.world();
    world.settings.ports = 64;
    world.pending_room = 1;
    open_anywhere(&world);
    assert_eq!(send(&world, &Frame { source: NET.client(2), ..syn() }), Verdict::ToBackend);
    assert_eq!(send(&world, &Frame { source: NET.client(3), ..syn() }), Verdict::PendingFull);
    assert_eq!(send(&world, &client(ACK, 0)), Verdict::ToBackend, "a live flow does not notice");
    let claimed = (0..64)
        .filter(|&index| world.port(32, index).expect("port").owner().has(port_flags::CLAIMED))
        .count();
    assert_eq!(claimed, 2, "the refused connection holds no port");
}

#[test]
fn a_full_connection_table_refuses_new_connections_only() {
    let mut world = NET.world();
    world.settings.ports = 64;
    open_anywhere(&world);
    world.flows_room = 1;
    let other = (NET.client(2).0, 1);
    let mut bytes = Frame { source: other, ..syn() }.bytes();
    world.run(&mut bytes);
    let to = (NET.source().0, u16::from_be_bytes([bytes.0[34], bytes.0[35]]));
    send(&world, &Frame { sequence: BROKER_ISN, destination: to, ..broker(SYN | ACK, 0) });
    assert_eq!(send(&world, &Frame { source: other, ..client(ACK, 0) }), Verdict::FlowsFull);
    assert_eq!(send(&world, &client(ACK, 0)), Verdict::ToBackend);
}

#[test]
fn a_client_that_gives_up_tells_the_broker() {
    let world = NET.world();
    send(&world, &syn());
    let reset = Frame { acknowledgement: 0, ..client(RST, 0) };
    assert_eq!(send(&world, &reset), Verdict::ToBackend);
    let forged = Frame { acknowledgement: 0, ..client(RST, 1 << 20) };
    assert_eq!(send(&world, &forged), Verdict::Unproven);
}

#[test]
fn a_refusal_of_the_broker_reaches_the_client() {
    let world = NET.world();
    send(&world, &syn());
    let refused = Frame { sequence: 0, ..broker(RST | ACK, 0) };
    assert_eq!(send(&world, &refused), Verdict::ToClient);
}
