//! What clients cannot do: hold memory, places or time without end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::rig::{LIMIT, Rig, connect, settings, until};
use crate::{config::model::MqttSettings, mqtt::Version};

#[tokio::test]
async fn a_connect_that_trickles_in_is_cut_off_in_time() {
    let connect_within = Duration::from_millis(300);
    let rig = Rig::new(1, MqttSettings { connect_within, ..settings() }).await;
    let mut client = rig.dial().await;
    let began = Instant::now();
    let packet = connect(Version::V311, "slow-loris");
    for byte in &packet[..10] {
        client.send(&[*byte]).await;
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.rest().await, b"");
    assert!(began.elapsed() >= connect_within && began.elapsed() < LIMIT);
    assert_eq!((rig.refusals("connect_timeout"), rig.seen().waiting), (1, 0));
}

#[tokio::test]
async fn of_those_without_a_connect_the_oldest_give_way_and_valid_clients_are_served() {
    let max_waiting = 50;
    let rig = Rig::new(1, MqttSettings { max_waiting, ..settings() }).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(rig.dial().await);
    }
    until("crowded out", || rig.refusals("crowded_out") == 150).await;
    assert_eq!(rig.seen().waiting, 50);
    assert_eq!(idle[0].rest().await, b"");
    rig.accepted(0, Version::V5, "valid").await;
    let counted = rig.refusals("crowded_out");
    assert!((150..=151).contains(&counted), "{counted}");
}

#[tokio::test]
async fn unfinished_connects_share_their_memory_and_large_ones_are_refused() {
    let bounded =
        MqttSettings { max_connect_bytes: 60_000, connect_memory_bytes: 65_536, ..settings() };
    let rig = Rig::new(1, bounded).await;
    // A CONNECT of 50,000 bytes, of which all but the last have come.
    let mut packet = vec![0x10, 0xd0, 0x86, 0x03];
    packet.extend(b"\x00\x04MQTT\x04\x02\x00\x3c");
    packet.resize(40_000, b'x');
    packet[14..16].copy_from_slice(&50_000_u16.to_be_bytes());
    let mut first = rig.dial().await;
    first.send(&packet).await;
    let mut second = rig.dial().await;
    second.send(&packet).await;
    until("out of memory", || rig.refusals("connect_memory") == 1).await;
    drop(first);
    until("given back", || rig.refusals("connect_unfinished") == 1).await;
    let mut third = rig.dial().await;
    third.send(&packet).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.refusals("connect_memory"), 1);

    let mut larger = rig.dial().await;
    // 60,001 bytes are announced.
    larger.send(&[0x10, 0xdd, 0xd4, 0x03]).await;
    larger.send(b"\x00\x04MQTT\x05\x02\x00\x3c").await;
    assert_eq!(larger.rest().await, [0x20, 3, 0, 0x95, 0]);
    assert_eq!(rig.refusals("packet_too_large"), 1);
}

/// What a task needs for a connection that is idle; the sockets' own memory and the entry come on top.
#[tokio::test]
async fn a_task_of_an_idle_connection_is_small() {
    use tokio::io::duplex;

    use crate::proxy::relay::Relay;

    let rig = Rig::new(1, settings()).await;
    let (_client, _broker) = rig.accepted(0, Version::V311, "a").await;
    let mut connection = None;
    rig.proxies.visit(rig.spec.address, |one| connection = Some(one.clone()));
    let (one, other) = (duplex(10).0, duplex(10).0);
    let relay = Relay::new(one, other, Vec::new(), Vec::new(), connection.unwrap());
    let task = size_of_val(&relay.run());
    assert!(task < 900, "{task} bytes");
    assert!(size_of::<crate::proxy::Connection>() < 400);
}
