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
