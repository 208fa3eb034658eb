//! What passes between a client and its broker.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::rig::{Rig, connect, settings, until};
use crate::mqtt::Version;

#[tokio::test]
async fn bytes_pass_both_ways_and_are_counted() {
    let rig = Rig::new(1, settings()).await;
    let (mut client, mut broker) = rig.accepted(0, Version::V311, "a").await;
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut up, mut down) = (vec![0; sent.len()], vec![0; sent.len()]);
    let (client_read, client_write) = client.0.split();
    let (broker_read, broker_write) = broker.0.split();
    let (mut client_read, mut client_write) = (client_read, client_write);
    let (mut broker_read, mut broker_write) = (broker_read, broker_write);
    tokio::try_join!(
        client_write.write_all(&sent),
        broker_write.write_all(&sent),
        broker_read.read_exact(&mut up),
        client_read.read_exact(&mut down),
    )
    .unwrap();
    assert!(up == sent && down == sent);
    let mut bytes = None;
    rig.proxies.visit(rig.spec.address, |one| bytes = Some(one.bytes()));
    // The CONNECT went to the broker, and the CONNACK to the client.
    let connect = connect(Version::V311, "a").len() as u64;
    assert_eq!(bytes, Some((300_000 + connect, 300_004)));
}

#[tokio::test]
async fn a_slow_subscriber_holds_its_broker_back() {
    let rig = Rig::new(1, settings()).await;
    let (client, mut broker) = rig.accepted(0, Version::V311, "a").await;
    let chunk = vec![0; 65_536];
    let mut written = 0_usize;
    // The sockets between them take some megabytes; more than that would lie in our memory.
    while let Ok(Ok(bytes)) = timeout(Duration::from_millis(500), broker.0.write(&chunk)).await {
        written += bytes;
        assert!(written < 64 << 20, "nothing holds it back");
    }
    drop(client);
    until("ended", || rig.connections() == 0).await;
}

#[tokio::test]
async fn who_closes_its_half_still_hears_the_other_half() {
    let rig = Rig::new(1, settings()).await;
    let (mut client, mut broker) = rig.accepted(0, Version::V311, "a").await;
    client.send(&[0xe0, 0]).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(broker.rest().await, [0xe0, 0]);
    broker.send(b"more").await;
    drop(broker);
    assert_eq!(client.rest().await, b"more");
    until("ended", || rig.connections() == 0).await;
    let (mut client, mut broker) = rig.accepted(0, Version::V311, "b").await;
    broker.0.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"");
    client.send(b"late").await;
    drop(client);
    assert_eq!(broker.rest().await, b"late");
    until("ended", || rig.connections() == 0).await;
    let counters = rig.proxies.counters()[&1];
    assert_eq!((counters.opened, counters.closed), (2, 2));
}
