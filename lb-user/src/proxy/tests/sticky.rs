//! Clients that return to the broker that has their session.

use std::num::NonZeroU32;

use super::rig::{Peer, Rig, settings, until};
use crate::{
    config::{
        defaults::STICKY,
        model::{MqttSettings, StickySettings, WhenAway},
    },
    proxy::{
        rebalance::{self, Rules},
        sticky::Ends,
    },
};

/// A CONNECT of MQTT 3.1.1 without Clean Session.
fn connect(client_id: &str) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + client_id.len() as u8];
    packet.extend(b"\x00\x04MQTT\x04\x00\x00\x3c\x00");
    packet.push(client_id.len() as u8);
    packet.extend(client_id.as_bytes());
    packet
}

async fn rig(dir: &tempfile::TempDir, sticky: StickySettings) -> Rig {
    let mut rig = Rig::new(3, MqttSettings { sticky: Some(sticky), ..settings() }).await;
    rig.restart(dir.path().join("sessions"));
    rig
}

/// Connects, is accepted by some broker, and leaves again; which one that was.
async fn visit(rig: &Rig, client_id: &str) -> usize {
    let mut client = rig.dial().await;
    client.send(&connect(client_id)).await;
    let (index, mut broker): (usize, Peer) = tokio::select! {
        broker = rig.broker(0) => (0, broker),
        broker = rig.broker(1) => (1, broker),
        broker = rig.broker(2) => (2, broker),
    };
    broker.send(&[0x20, 2, 0, 0]).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    drop((client, broker));
    until("ended", || rig.connections() == 0).await;
    index
}

#[tokio::test]
async fn a_client_that_is_moved_has_no_broker_to_return_to() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(&dir, STICKY).await;
    let mut client = rig.dial().await;
    client.send(&connect("a")).await;
    let mut broker = rig.broker(0).await;
    broker.send(&[0x20, 2, 0, 0]).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    let sessions = rig.proxies.sessions(rig.spec.address).unwrap();
    assert_eq!(sessions.list(Some("a"), None, 10).1[0].backend, "b1");
    let mut snapshot = rig.snapshot();
    snapshot.backends[0].accepts = false;
    rig.apply(snapshot);
    let rules = Rules {
        moves_per_second: NonZeroU32::MIN,
        tolerance_percent: 0,
        sessions: rebalance::Sessions::Last,
    };
    let before = rig.proxies.rebalance(rig.spec.address, rules, vec![1], true).unwrap();
    assert_eq!(before.moves, 1);
    assert_eq!(client.rest().await, b"");
    drop((client, broker));
    until("ended", || rig.connections() == 0).await;
    assert!(sessions.list(Some("a"), None, 10).1.is_empty());
}

#[tokio::test]
async fn a_client_returns_to_its_broker_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(&dir, STICKY).await;
    let homes = [visit(&rig, "a").await, visit(&rig, "b").await, visit(&rig, "c").await];
    assert_eq!(homes, [0, 1, 2]);
    rig.proxies.stop().await;
    rig.restart(dir.path().join("sessions"));
    for _ in 0..2 {
        assert_eq!((visit(&rig, "c").await, visit(&rig, "a").await), (2, 0));
    }
    let sessions = rig.proxies.sessions(rig.spec.address).unwrap();
    let (count, listed) = sessions.list(Some("c"), None, 10);
    assert_eq!((count, listed.len()), (3, 1));
    assert_eq!((listed[0].backend.as_str(), listed[0].ends), ("b3", Ends::Never));
    assert_eq!(sessions.clear(None, Some("b3")), 1);
    assert_eq!(sessions.list(None, None, 10).0, 2);
}

#[tokio::test]
async fn while_its_broker_is_away_a_client_goes_elsewhere_and_comes_back_or_stays() {
    for (when_away, later) in [(WhenAway::ComeBack, 0), (WhenAway::Stay, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let rig = rig(&dir, StickySettings { when_away, ..STICKY }).await;
        assert_eq!(visit(&rig, "a").await, 0);
        let mut away = rig.snapshot();
        away.backends[0].accepts = false;
        rig.apply(away);
        assert_eq!(visit(&rig, "a").await, 1);
        rig.apply(rig.snapshot());
        assert_eq!(visit(&rig, "a").await, later);
    }
}

#[tokio::test]
async fn a_client_whose_broker_was_removed_stays_where_it_was_led() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(&dir, STICKY).await;
    assert_eq!(visit(&rig, "a").await, 0);
    let mut removed = rig.snapshot();
    removed.backends.remove(0);
    rig.apply(removed);
    let home = visit(&rig, "a").await;
    for _ in 0..3 {
        assert_eq!(visit(&rig, "a").await, home);
    }
}

#[tokio::test]
async fn a_service_that_moves_to_another_port_remembers_what_it_knew() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(&dir, STICKY).await;
    assert_eq!([visit(&rig, "a").await, visit(&rig, "b").await], [0, 1]);
    rig.spec.address.set_port(1884);
    rig.apply(rig.snapshot());
    assert_eq!([visit(&rig, "b").await, visit(&rig, "a").await], [1, 0]);
    rig.proxies.stop().await;
    rig.restart(dir.path().join("sessions"));
    assert_eq!([visit(&rig, "b").await, visit(&rig, "a").await], [1, 0]);
}
