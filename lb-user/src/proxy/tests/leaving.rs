//! Clients that go away before a broker has them.

use std::time::Duration;

use super::rig::{Peer, Rig, accepts, connect, settings, until};
use crate::{
    config::model::{MqttSettings, Pacing},
    mqtt::Version,
};

/// PUBLISH of QoS 0, and DISCONNECT.
const AND_GOODBYE: &[u8] = &[0x30, 4, 0, 1, b't', b'm', 0xe0, 0];

fn paced(backend: u32) -> MqttSettings {
    let max_wait = Duration::from_mins(1);
    let pacing = Pacing { source: None, service: None, backend: Some(backend), max_wait };
    MqttSettings { pacing, ..settings() }
}

fn reset(client: Peer) {
    client.0.set_zero_linger().unwrap();
    drop(client);
}

#[tokio::test]
async fn who_goes_away_while_it_waits_for_its_turn_frees_its_place_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let rig = Rig::new(1, MqttSettings { connection_log: Some(path.clone()), ..paced(1) }).await;
    let mut limited = rig.snapshot();
    limited.backends[0].max_connections = Some(2);
    rig.apply(limited);
    let _first = rig.accepted(0, Version::V5, "a").await;
    for (number, leave) in [(1, drop as fn(Peer)), (2, reset)] {
        let waiting = rig.connect(Version::V5, "b").await;
        until("waiting", || rig.proxies.counters()[&1].attempted == number + 1).await;
        leave(waiting);
        until("counted", || rig.refusals("client_gone") == number).await;
    }
    // Nobody is told that the backend is full.
    let _third = rig.connect(Version::V5, "c").await;
    until("let in", || rig.proxies.counters()[&1].attempted == 4).await;
    assert_eq!(rig.refusals("full"), 0);
    let lines = || std::fs::read_to_string(&path).unwrap();
    until("logged", || lines().lines().count() == 2).await;
    assert!(lines().lines().all(|line| line.contains(r#""end":"client_gone","client_id":"b""#)));
}

#[tokio::test]
async fn the_turn_of_one_that_goes_away_is_the_next_ones() {
    let rig = Rig::new(1, paced(1)).await;
    let _first = rig.accepted(0, Version::V5, "a").await;
    let began = tokio::time::Instant::now();
    for number in 1..=10 {
        let waiting = rig.connect(Version::V5, "b").await;
        until("waiting", || rig.proxies.counters()[&1].attempted == number + 1).await;
        drop(waiting);
        until("counted", || rig.refusals("client_gone") == number).await;
    }
    let _last = rig.accepted(0, Version::V5, "c").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_goes_away_before_its_broker_answers_is_let_go_there_at_once() {
    let rig = Rig::new(1, settings()).await;
    let client = rig.connect(Version::V311, "a").await;
    let mut broker = rig.broker(0).await;
    broker.expect(&connect(Version::V311, "a")).await;
    drop(client);
    broker.gone().await;
    until("counted", || rig.refusals("client_gone") == 1).await;
    assert_eq!(rig.proxies.counters()[&1].opened, 0);
}

#[tokio::test]
async fn what_a_client_sent_before_it_closed_is_delivered_however_much_it_is() {
    let rig = Rig::new(1, settings()).await;
    for length in [0, 5000] {
        let mut client = rig.dial().await;
        let mut sent = connect(Version::V311, "brief");
        // Keep-alive questions, as many as it takes.
        sent.extend([0xc0, 0].repeat(length / 2));
        sent.extend(AND_GOODBYE);
        client.send(&sent[..30]).await;
        client.send(&sent[30..]).await;
        drop(client);
        let mut broker = rig.broker(0).await;
        broker.expect(&connect(Version::V311, "brief")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        broker.send(accepts(Version::V311)).await;
        broker.expect(&sent[connect(Version::V311, "brief").len()..]).await;
    }
    assert_eq!(rig.refusals("client_gone"), 0);
}

#[tokio::test]
async fn who_resets_is_gone_however_much_it_sent_before() {
    let rig = Rig::new(1, settings()).await;
    let mut client = rig.connect(Version::V311, "a").await;
    client.send(&[0xc0, 0].repeat(2000)).await;
    let mut broker = rig.broker(0).await;
    broker.expect(&connect(Version::V311, "a")).await;
    reset(client);
    broker.gone().await;
    until("counted", || rig.refusals("client_gone") == 1).await;
}
