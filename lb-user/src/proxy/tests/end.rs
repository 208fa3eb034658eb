//! How connections end.

use std::time::Duration;

use tokio::time::Instant;

use super::rig::{LIMIT, Rig, accepts, connect, settings, until};
use crate::{
    config::model::MqttSettings,
    mqtt::{Connect, Version},
};

/// A client whose Keep Alive is a second, and its broker.
async fn idle(rig: &Rig, version: Version, connack: &[u8]) -> Duration {
    let packet =
        Connect { version, client_id: "a", keep_alive_s: 1, username: None, password: None };
    let mut client = rig.dial().await;
    client.send(&packet.encode().unwrap()).await;
    let mut broker = rig.broker(0).await;
    broker.expect(&packet.encode().unwrap()).await;
    broker.send(connack).await;
    client.expect(connack).await;
    let began = Instant::now();
    // What the broker sends does not count.
    broker.send(&[0xd0, 0]).await;
    client.expect(&[0xd0, 0]).await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(broker.rest().await, b"");
    began.elapsed()
}

#[tokio::test]
async fn a_silent_client_is_cut_off_after_one_and_a_half_times_its_keep_alive() {
    let rig = Rig::new(1, settings()).await;
    let took = idle(&rig, Version::V311, &[0x20, 2, 0, 0]).await;
    assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn the_servers_keep_alive_counts_where_it_gives_one() {
    let rig = Rig::new(1, settings()).await;
    // Server Keep Alive (0x13): 2 s.
    let took = idle(&rig, Version::V5, &[0x20, 6, 0, 0, 3, 0x13, 0, 2]).await;
    assert!(took > Duration::from_millis(2900) && took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn when_a_backend_is_removed_its_clients_are_told_and_others_stay() {
    let rig = Rig::new(2, settings()).await;
    let (mut v5, mut broker) = rig.accepted(0, Version::V5, "a").await;
    let (mut stays, mut other) = rig.accepted(1, Version::V5, "b").await;
    let (mut v3, _broker) = rig.accepted(0, Version::V311, "c").await;
    let (mut torn, mut half) = {
        let (client, other) = rig.accepted(1, Version::V5, "d").await;
        drop((client, other));
        rig.accepted(0, Version::V5, "e").await
    };
    half.send(&[0x30, 10, 0, 1]).await;
    torn.expect(&[0x30, 10, 0, 1]).await;
    let mut snapshot = rig.snapshot();
    snapshot.backends.remove(0);
    rig.apply(snapshot);
    // "Administrative action", between two packets and only there.
    assert_eq!(v5.rest().await, [0xe0, 2, 0x98, 0]);
    assert_eq!(broker.rest().await, b"");
    assert_eq!(v3.rest().await, b"");
    assert_eq!(torn.rest().await, b"");
    other.send(&[0xd0, 0]).await;
    stays.expect(&[0xd0, 0]).await;
    until("ended", || rig.connections() == 1).await;
}

#[tokio::test]
async fn a_client_that_was_not_accepted_gets_no_disconnect() {
    // A server must not send one before a CONNACK that accepts (MQTT-3.14.0-1).
    for said in [&[0xf0, 0][..], &[0x20, 3, 0, 0x87, 0], &[0x20, 2, 0, 1]] {
        let rig = Rig::new(1, settings()).await;
        let mut client = rig.connect(Version::V5, "a").await;
        let mut broker = rig.broker(0).await;
        broker.send(said).await;
        client.expect(said).await;
        let mut snapshot = rig.snapshot();
        snapshot.backends.clear();
        rig.apply(snapshot);
        assert_eq!(client.rest().await, b"", "after {said:02x?}");
    }
}

#[tokio::test]
async fn a_client_that_a_broker_asks_who_it_is_has_a_connection() {
    let rig = Rig::new(1, settings()).await;
    let mut client = rig.connect(Version::V5, "a").await;
    let mut broker = rig.broker(0).await;
    broker.send(&[0xf0, 0]).await;
    client.expect(&[0xf0, 0]).await;
    let counted = || {
        let counters = rig.proxies.counters()[&1];
        (counters.opened, counters.closed)
    };
    assert_eq!(counted(), (1, 0), "who drains its backend waits for it");
    drop((client, broker));
    until("closed", || counted() == (1, 1)).await;
}

#[tokio::test]
async fn a_client_identifier_has_one_connection_and_the_newer_one_wins() {
    let rig = Rig::new(2, MqttSettings { takeover: true, ..settings() }).await;
    let (mut older, mut broker) = rig.accepted(0, Version::V5, "same").await;
    let (mut newer, mut other) = rig.accepted(1, Version::V311, "same").await;
    assert_eq!(older.rest().await, [0xe0, 2, 0x8e, 0]);
    assert_eq!(broker.rest().await, b"");
    until("one", || rig.connections() == 1).await;
    newer.send(&[0xc0, 0]).await;
    other.expect(&[0xc0, 0]).await;
    // A client that the broker does not let in takes nobody's place.
    let mut wrong = rig.connect(Version::V311, "same").await;
    rig.broker(0).await.send(&[0x20, 2, 0, 4]).await;
    wrong.expect(&[0x20, 2, 0, 4]).await;
    other.send(&[0xd0, 0]).await;
    newer.expect(&[0xd0, 0]).await;
}

#[tokio::test]
async fn of_two_connections_the_one_that_came_later_stays_whichever_broker_answers_first() {
    let rig = Rig::new(2, MqttSettings { takeover: true, ..settings() }).await;
    let mut older = rig.connect(Version::V5, "same").await;
    let mut slow = rig.broker(0).await;
    slow.expect(&connect(Version::V5, "same")).await;
    let (mut newer, mut broker) = rig.accepted(1, Version::V5, "same").await;
    slow.send(accepts(Version::V5)).await;
    older.gone().await;
    slow.gone().await;
    until("one", || rig.connections() == 1).await;
    broker.send(&[0xd0, 0]).await;
    newer.expect(&[0xd0, 0]).await;
}

#[tokio::test]
async fn an_identifier_that_is_fought_over_is_quarantined() {
    let rig = Rig::new(1, MqttSettings { takeover: true, ..settings() }).await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(rig.accepted(0, Version::V5, "fought-over").await);
    }
    let mut refused = rig.connect(Version::V5, "fought-over").await;
    assert_eq!(refused.rest().await, [0x20, 3, 0, 0x9f, 0]);
    assert_eq!(rig.refusals("quarantined"), 1);
    rig.accepted(0, Version::V5, "another").await;
}

#[tokio::test]
async fn when_the_balancer_ends_clients_are_told_and_nobody_is_accepted() {
    let rig = Rig::new(1, settings()).await;
    let (mut v5, _broker) = rig.accepted(0, Version::V5, "a").await;
    let (mut v3, _other) = rig.accepted(0, Version::V311, "b").await;
    let told = async {
        let all = (v5.rest().await, v3.rest().await);
        drop((v5, v3));
        all
    };
    let began = Instant::now();
    let ((), told) = tokio::join!(rig.proxies.stop(), told);
    assert_eq!(told, (vec![0xe0, 2, 0x8b, 0], vec![]));
    assert!(began.elapsed() < Duration::from_secs(3), "nothing was waited for");
    let refused = async {
        while tokio::net::TcpStream::connect(rig.spec.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
}

#[tokio::test]
async fn a_removed_service_closes_and_a_changed_one_goes_on() {
    let mut rig = Rig::new(1, settings()).await;
    let (mut client, mut broker) = rig.accepted(0, Version::V311, "a").await;
    rig.spec.settings.max_waiting = 7;
    rig.apply(rig.snapshot());
    client.send(&[0xc0, 0]).await;
    broker.expect(&[0xc0, 0]).await;
    rig.accepted(0, Version::V311, "b").await;
    let ready = rig.proxies.prepare(&[], false).unwrap();
    rig.proxies.begin(ready, vec![]);
    assert_eq!(client.rest().await, b"");
    assert_eq!(broker.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_tears_down_what_its_broker_has_closed_did_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let connection_log = Some(path.clone());
    let rig = Rig::new(1, MqttSettings { connection_log, ..settings() }).await;
    let (mut client, broker) = rig.accepted(0, Version::V311, "a").await;
    drop(broker);
    assert_eq!(client.rest().await, b"");
    client.0.set_zero_linger().unwrap();
    drop(client);
    let text = || std::fs::read_to_string(&path).unwrap();
    until("logged", || text().contains('\n')).await;
    assert!(text().contains(r#""end":"broker_closed""#), "{}", text());
}

#[tokio::test]
async fn the_log_says_who_went_where_and_why_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let connection_log = Some(path.clone());
    let rig = Rig::new(1, MqttSettings { connection_log, ..settings() }).await;
    let (client, broker) = rig.accepted(0, Version::V5, "sensor-1").await;
    drop(client);
    let mut broker = broker;
    assert_eq!(broker.rest().await, b"");
    drop(broker);
    let mut stranger = rig.dial().await;
    stranger.send(b"GET /").await;
    stranger.rest().await;
    let lines = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("logged", || lines().len() == 2).await;
    let lines = lines();
    let of = |end: &str| lines.iter().find(|line| line["end"] == end).unwrap().clone();
    let ended = of("client_closed");
    assert_eq!(
        (&ended["client_id"], &ended["username"], &ended["backend"]),
        (&"sensor-1".into(), &"user".into(), &"b1".into())
    );
    assert_eq!((&ended["version"], &ended["bytes_to_client"]), (&"MQTT 5.0".into(), &5.into()));
    // Its CONNECT is among them.
    assert_eq!(ended["bytes_to_backend"], connect(Version::V5, "sensor-1").len());
    assert_eq!(
        rig.proxies.counters()[&1].bytes_to_backend,
        connect(Version::V5, "sensor-1").len() as u64
    );
    assert!(ended["why"].as_str().unwrap().contains("turn"), "{ended}");
    assert!(!ended.to_string().contains("secret"));
    assert!(of("not_connect").get("client_id").is_none());
}
