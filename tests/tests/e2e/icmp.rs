//! ICMP: echoes to the VIP, and what is too big.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};

use super::{LIMIT, Stage};

fn count(stage: &Stage, verdict: &str) -> u64 {
    stage.balancer.json("status").unwrap()["verdicts"][verdict].as_u64().unwrap_or(0)
}

/// A CONNECT with a Will of `will` bytes.
fn connect_packet(will: u16) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\x06\x00\x3c\x00\x03big\x00\x01w".to_vec();
    body.extend(will.to_be_bytes());
    body.resize(body.len() + usize::from(will), 0x5a);
    let len = body.len();
    let mut packet = vec![0x10, (len & 0x7f) as u8 | 0x80, (len >> 7) as u8];
    assert!(len >> 14 == 0, "two bytes of length");
    packet.append(&mut body);
    packet
}

#[test]
fn an_echo_to_the_vip_is_answered() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 1);
    for family in Family::ALL {
        let vip = stage.topology.vip(family).ip().to_string();
        let mut ping = Command::new("ping");
        stage.topology.clients().feed(ping.args(["-c", "1", "-W", "5", &vip]), "").unwrap();
    }
}

/// Sends a request and reads so many bytes of the answer.
fn exchange(stream: &mut TcpStream, request: &[u8], answer: usize) -> Vec<u8> {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request).unwrap();
    let mut read = vec![0; answer];
    stream.read_exact(&mut read).unwrap();
    read
}

/// A message of 9,000 bytes that the broker keeps, with an acknowledgement.
fn publish_packet() -> Vec<u8> {
    let mut packet = b"\x33\xaf\x46\x00\x03big\x00\x01".to_vec();
    packet.resize(packet.len() + 9_000, 0x5a);
    packet
}

#[test]
fn a_broker_that_answers_directly_learns_what_fits_the_way_to_its_client() {
    let _exclusive = exclusive();
    let mut stage = Stage::with_config(Arms::One, 1, |config| {
        for service in config["services"].as_array_mut().unwrap() {
            service["mode"] = "dsr".into();
        }
    });
    stage.topology.give_brokers_the_vips().unwrap();
    let (_router, far) = stage.topology.add_far_client(1400).unwrap();
    for family in Family::ALL {
        let vip = stage.topology.vip(family);
        let connect = || TcpStream::connect_timeout(&vip, LIMIT);
        let mut near = stage.topology.clients().run(connect).unwrap().unwrap();
        assert_eq!(exchange(&mut near, &connect_packet(5), 4), [0x20, 2, 0, 0]);
        assert_eq!(exchange(&mut near, &publish_packet(), 4), [0x40, 2, 0, 1]);
        let before = count(&stage, "icmp_to_backend");
        let connected = far.run(connect).unwrap();
        let mut client = connected.unwrap_or_else(|error| panic!("{family:?}: {error}"));
        assert_eq!(exchange(&mut client, &connect_packet(6), 4), [0x20, 2, 0, 0]);
        let subscribe = b"\x82\x08\x00\x01\x00\x03big\x00";
        let answer = exchange(&mut client, subscribe, 5 + 9_008);
        assert!(answer.ends_with(&[0x5a; 9_000]));
        assert!(count(&stage, "icmp_to_backend") > before, "{family:?}");
    }
}

#[test]
fn a_client_learns_what_fits_the_link_to_its_broker() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 1);
    stage.topology.balancer().ip("link set eth1 mtu 1400\n").unwrap();
    for family in Family::ALL {
        let before = count(&stage, "too_big_answered");
        let vip = stage.topology.vip(family);
        let connect = || TcpStream::connect_timeout(&vip, LIMIT);
        let mut client = stage.topology.clients().run(connect).unwrap().unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.write_all(&connect_packet(9_000)).unwrap();
        let mut accepted = [0; 4];
        client.read_exact(&mut accepted).unwrap();
        assert_eq!(accepted, [0x20, 2, 0, 0]);
        assert!(count(&stage, "too_big_answered") > before);
    }
}
