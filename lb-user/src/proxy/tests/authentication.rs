//! Clients and brokers that send each other AUTH before CONNACK (MQTT 5.0, section 4.12).

use std::time::Duration;

use tokio::time::Instant;

use super::rig::{Peer, Rig, settings, until};
use crate::{
    config::model::MqttSettings,
    mqtt::{Connect, Version},
};

/// CONNECT with a Keep Alive of a minute and the Authentication Method `m`.
fn connect(client_id: &str) -> Vec<u8> {
    let (version, keep_alive_s) = (Version::V5, 60);
    let plain = Connect { version, client_id, keep_alive_s, username: None, password: None };
    let mut packet = plain.encode().unwrap();
    // Remaining Length, and that of the properties, which are behind the Keep Alive.
    packet[1] += 4;
    packet[12] = 4;
    packet.splice(13..13, [0x15, 0, 1, b'm']);
    packet
}

/// "Continue authentication", with `m` as Authentication Method and a byte of Authentication Data.
fn auth(data: u8) -> Vec<u8> {
    vec![0xf0, 10, 0x18, 8, 0x15, 0, 1, b'm', 0x16, 0, 1, data]
}

/// A client of broker 0, which has asked it who it is.
async fn asked(rig: &Rig, client_id: &str) -> (Peer, Peer) {
    let mut client = rig.dial().await;
    client.send(&connect(client_id)).await;
    let mut broker = rig.broker(0).await;
    broker.expect(&connect(client_id)).await;
    broker.send(&auth(1)).await;
    client.expect(&auth(1)).await;
    (client, broker)
}

#[tokio::test]
async fn an_exchange_of_any_length_passes_and_its_connack_counts() {
    let rig = Rig::new(1, MqttSettings { takeover: true, ..settings() }).await;
    let (mut client, mut broker) = asked(&rig, "a").await;
    client.send(&auth(2)).await;
    broker.expect(&auth(2)).await;
    // In two pieces, and the last one together with the CONNACK and a packet.
    broker.send(&auth(3)[..5]).await;
    client.expect(&[]).await;
    broker.send(&auth(3)[5..]).await;
    client.expect(&auth(3)).await;
    client.send(&auth(4)).await;
    broker.expect(&auth(4)).await;
    // Server Keep Alive: 1 s. Assigned Client Identifier: "b".
    let connack = [0x20, 10, 0, 0, 7, 0x13, 0, 1, 0x12, 0, 1, b'b'];
    broker.send(&[&auth(5), &connack[..], &[0xd0, 0]].concat()).await;
    client.expect(&[&auth(5), &connack[..], &[0xd0, 0]].concat()).await;
    let began = Instant::now();
    let mut seen = Vec::new();
    rig.proxies.visit(rig.spec.address, |one| seen.push((one.client_id.to_string(), one.bytes())));
    let bytes = (connect("a").len() as u64 + 24, 12 * 3 + 12 + 2);
    assert_eq!(seen, [("b".to_owned(), bytes)]);
    let counters = rig.proxies.counters()[&1];
    assert_eq!((counters.connack_accepted, counters.opened, counters.closed), (1, 1, 0));
    // A client that is silent for 1.5 s, not for 90.
    assert_eq!(client.rest().await, b"");
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_client_that_was_authenticated_by_auth_takes_over_and_is_told_when_it_ends() {
    let rig = Rig::new(1, MqttSettings { takeover: true, ..settings() }).await;
    let accepted = [0x20, 3, 0, 0, 0];
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (mut client, mut broker) = asked(&rig, "same").await;
        broker.send(&accepted).await;
        client.expect(&accepted).await;
        clients.push((client, broker));
    }
    assert_eq!(clients[0].0.rest().await, [0xe0, 2, 0x8e, 0]);
}

#[tokio::test]
async fn whoever_ends_it_before_the_connack_ends_it_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let short = Duration::from_millis(300);
    let settings = MqttSettings {
        connection_log: Some(path.clone()),
        connect_within: short,
        connack_within: short,
        ..settings()
    };
    let rig = Rig::new(1, settings).await;
    let lines = || std::fs::read_to_string(&path).unwrap();
    let (client, mut broker) = asked(&rig, "leaves").await;
    drop(client);
    broker.gone().await;
    let (mut client, broker) = asked(&rig, "refused").await;
    drop(broker);
    assert_eq!(client.rest().await, b"");
    let (mut client, mut broker) = asked(&rig, "nonsense").await;
    broker.send(b"HTTP/1.1 400").await;
    client.gone().await;
    let (mut client, _broker) = asked(&rig, "silent").await;
    client.gone().await;
    let (mut client, mut broker) = asked(&rig, "unanswered").await;
    client.send(&auth(2)).await;
    broker.expect(&auth(2)).await;
    client.gone().await;
    until("logged", || lines().lines().count() == 5).await;
    let ends: Vec<serde_json::Value> =
        lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<_> = ends.iter().map(|line| line["end"].as_str().unwrap()).collect();
    let expected = ["client_closed", "broker_closed", "broker_failed", "idle", "broker_failed"];
    assert_eq!(ends, expected);
    let counters = rig.proxies.counters()[&1];
    // Nothing is held against a broker to which the client has sent an AUTH: it may have been half a one.
    assert_eq!((counters.connack_missing, counters.opened, counters.closed), (2, 5, 5));
}

#[tokio::test]
async fn a_refusal_after_auth_is_the_clients_to_hear() {
    let rig = Rig::new(2, settings()).await;
    let (mut client, mut broker) = asked(&rig, "a").await;
    client.send(&auth(2)).await;
    broker.expect(&auth(2)).await;
    // "Not authorized"; then one that another broker might not say, but who would begin anew?
    broker.send(&[0x20, 3, 0, 0x87, 0]).await;
    drop(broker);
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x87, 0]);
    let (mut client, mut broker) = asked_at(&rig, 1).await;
    broker.send(&[0x20, 3, 0, 0x89, 0]).await;
    drop(broker);
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x89, 0]);
}

async fn asked_at(rig: &Rig, index: usize) -> (Peer, Peer) {
    let mut client = rig.dial().await;
    client.send(&connect("b")).await;
    let mut broker = rig.broker(index).await;
    broker.send(&auth(1)).await;
    client.expect(&auth(1)).await;
    (client, broker)
}
