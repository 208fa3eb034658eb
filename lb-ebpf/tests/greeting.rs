//! The first data of connections, read in passing, on the host library.
#![cfg(feature = "host")]

use lb_common::{
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    service::service_flags::{ONLY_MQTT, ONLY_TLS},
    ticks,
    verdict::Verdict,
};
use lb_ebpf::{
    host::{
        Frame, World,
        golden::{Family, Net},
    },
    parse::tcp_flags::{ACK, SYN},
    tables::Tables as _,
};

const NET: Net = Net(Family::V4);
const CLIENT_ISN: u32 = 5_000;
const BROKER_ISN: u32 = 70_000;
const SERVICE_IDLE: u32 = 1000;

const CONNECT: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x01\x2c\x00\x04dev1";
const CONNECT_5: &[u8] = b"\x10\x11\x00\x04MQTT\x05\x02\x01\x2c\x00\x00\x04dev1";
const HELLO: &[u8] = b"\x16\x03\x01\x00\x05hello";

fn send(world: &World, frame: &Frame) -> Verdict {
    world.run(&mut frame.bytes()).verdict
}

fn client(flags: u8, at: u32, payload: &[u8]) -> Frame {
    Frame {
        sequence: CLIENT_ISN + 1 + at,
        acknowledgement: BROKER_ISN + 1,
        payload: payload.into(),
        ..NET.from_client(flags)
    }
}

fn broker(at: u32, payload: &[u8]) -> Frame {
    Frame {
        sequence: BROKER_ISN + 1 + at,
        acknowledgement: CLIENT_ISN + 1 + CONNECT.len() as u32,
        payload: payload.into(),
        ..NET.from_broker(ACK)
    }
}

/// A connection of a service with these flags, that has carried no data.
fn established(flags: u8) -> World {
    let mut world = NET.world();
    world.services.values_mut().for_each(|service| service.flags |= flags);
    let syn = Frame { sequence: CLIENT_ISN, ..NET.from_client(SYN) };
    let syn_ack = Frame {
        sequence: BROKER_ISN,
        acknowledgement: CLIENT_ISN + 1,
        ..NET.from_broker(SYN | ACK)
    };
    for frame in [&syn, &syn_ack, &client(ACK, 0, &[])] {
        send(&world, frame);
    }
    assert_eq!(world.flows.borrow().len(), 1);
    world
}

fn flow(world: &World) -> Option<Flow> {
    let (address, port) = NET.client(1);
    let key = FlowKey::new(address.into(), port.to_be_bytes(), Net::SERVICE);
    world.flow(&key).map(|cell| cell.load())
}

fn idle_ticks(world: &World) -> u32 {
    flow(world).expect("the flow is in the connection table").idle_ticks
}

#[test]
fn the_keep_alive_of_a_connect_decides_how_long_a_flow_may_be_idle() {
    let world = established(0);
    assert_eq!(idle_ticks(&world), SERVICE_IDLE);
    assert_eq!(send(&world, &client(ACK, 0, CONNECT)), Verdict::ToBackend);
    assert_eq!(idle_ticks(&world), ticks::of_keep_alive(300));
    assert!(ticks::to_duration(ticks::of_keep_alive(300)).as_secs() > 450);
    send(&world, &broker(0, b"\x20\x02\x00\x00"));
    assert_eq!(idle_ticks(&world), ticks::of_keep_alive(300));
}

#[test]
fn without_a_keep_alive_the_service_decides() {
    for connect in [&b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04dev1"[..], HELLO, b"\x10"] {
        let world = established(0);
        assert_eq!(send(&world, &client(ACK, 0, connect)), Verdict::ToBackend);
        assert_eq!(idle_ticks(&world), SERVICE_IDLE);
    }
}

#[test]
fn only_the_first_data_are_read() {
    let world = established(ONLY_MQTT);
    send(&world, &client(ACK, 0, CONNECT));
    assert_eq!(send(&world, &client(ACK, CONNECT.len() as u32, HELLO)), Verdict::ToBackend);
    // Data that come before those ahead of them are not taken for the first.
    let world = established(ONLY_MQTT);
    assert_eq!(send(&world, &client(ACK, 100, HELLO)), Verdict::ToBackend);
    assert_eq!(send(&world, &client(ACK, 0, CONNECT)), Verdict::ToBackend);
    assert_eq!(idle_ticks(&world), ticks::of_keep_alive(300));
}

#[test]
fn a_broker_may_give_another_keep_alive() {
    let connack = b"\x20\x06\x00\x00\x03\x13\x00\x0a";
    let unknown = b"\x20\x05\x00\x00\x02\x99\x0a";
    for (answer, idle) in [(&connack[..], ticks::of_keep_alive(10)), (unknown, SERVICE_IDLE)] {
        let world = established(0);
        send(&world, &client(ACK, 0, CONNECT_5));
        assert_eq!(idle_ticks(&world), ticks::of_keep_alive(300));
        assert_eq!(send(&world, &broker(0, answer)), Verdict::ToClient);
        assert_eq!(idle_ticks(&world), idle);
        // Only the first answer counts.
        send(&world, &broker(answer.len() as u32, b"\x20\x06\x00\x00\x03\x13\x00\x63"));
        assert_eq!(idle_ticks(&world), idle);
    }
}

#[test]
fn a_guarded_service_resets_what_is_neither() {
    for (flags, passes, refused) in [
        (ONLY_MQTT, CONNECT, HELLO),
        (ONLY_MQTT, b"\x10\x80".as_slice(), b"GET / HTTP/1.1\r\n".as_slice()),
        (ONLY_TLS, HELLO, CONNECT),
    ] {
        let world = established(flags);
        assert_eq!(send(&world, &client(ACK, 0, passes)), Verdict::ToBackend);
        let world = established(flags);
        assert_eq!(send(&world, &client(ACK, 0, refused)), Verdict::Guarded);
        assert_eq!(flow(&world), None);
        // The broker hears of it when it next says something.
        assert_eq!(send(&world, &broker(0, b"")), Verdict::UnknownReply);
    }
}

#[test]
fn answers_are_counted_by_what_they_say_of_the_broker() {
    let counted = |answer: &[u8]| -> BackendCounters {
        let world = established(0);
        send(&world, &client(ACK, 0, CONNECT));
        send(&world, &broker(0, answer));
        world.counters_of(1)
    };
    assert_eq!(counted(b"\x20\x02\x00\x00").connack_accepted, 1);
    assert_eq!(counted(b"\x20\x02\x00\x05").connack_refused, 1);
    assert_eq!(counted(b"\x20\x02\x00\x03").connack_unavailable, 1);
    assert_eq!(counted(b"HTTP/1.1 400").connack_missing, 1);
    let world = established(0);
    send(&world, &broker(0, b"\x20\x02\x00\x00"));
    assert_eq!(world.counters_of(1).connack_accepted, 0, "nobody asked");
}
