//! Connections that move to other backends.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use super::rig::{Peer, Rig, accepts, connect, settings, until};
use crate::{
    config::model::{MqttSettings, Policy},
    mqtt::Version,
    proxy::{
        rebalance::{Rules, Sessions},
        rebalancing::Ended,
    },
};

fn rules(per_second: u32) -> Rules {
    let moves_per_second = NonZeroU32::new(per_second).unwrap();
    Rules { moves_per_second, tolerance_percent: 0, sessions: Sessions::Last }
}

/// A service with one broker that has `clients`, and another one that has just joined.
async fn crowded(clients: usize, version: Version) -> (Rig, Vec<(Peer, Peer)>) {
    let policy = Policy::LeastConnections;
    let mut rig = Rig::new(1, MqttSettings { policy, ..settings() }).await;
    let mut accepted = Vec::new();
    for number in 0..clients {
        accepted.push(rig.accepted(0, version, &format!("c{number}")).await);
    }
    rig.brokers.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    rig.apply(rig.snapshot());
    (rig, accepted)
}

#[tokio::test]
async fn a_broker_that_joins_gets_its_share_at_the_pace_that_was_ordered() {
    for (version, goodbye) in [(Version::V5, &[0xe0, 2, 0x9c, 0][..]), (Version::V311, &[])] {
        let (rig, clients) = crowded(10, version).await;
        let address = rig.spec.address;
        let dry = rig.proxies.rebalance(address, rules(20), Vec::new(), false).unwrap();
        assert_eq!((dry.moves, dry.connections), (5, 10));
        assert!(rig.proxies.rebalancing(address, false).is_none(), "nothing has begun");
        let began = tokio::time::Instant::now();
        let _ = rig.proxies.rebalance(address, rules(20), Vec::new(), true).unwrap();
        until("five are left", || rig.connections() == 5).await;
        assert!(began.elapsed() >= Duration::from_millis(190), "20 a second");
        let mut stay = BTreeSet::new();
        rig.proxies.visit(address, |one| {
            stay.insert(one.client_id.to_string());
        });
        let mut open = Vec::new();
        for (number, (mut client, broker)) in clients.into_iter().enumerate() {
            let id = format!("c{number}");
            if stay.contains(&id) {
                open.push((client, broker));
                continue;
            }
            assert_eq!(client.rest().await, goodbye);
            let mut again = rig.connect(version, &id).await;
            let mut other = rig.broker(1).await;
            other.expect(&connect(version, &id)).await;
            other.send(accepts(version)).await;
            again.expect(accepts(version)).await;
            open.push((again, other));
        }
        let progress = || rig.proxies.rebalancing(address, false).unwrap();
        until("at its end", || progress().end.is_some()).await;
        assert_eq!((progress().moved, progress().end), (5, Some(Ended::Balanced)));
        let counters = rig.proxies.counters();
        let left = |id: u32| counters[&id].opened - counters[&id].closed;
        assert_eq!((left(1), left(2), open.len()), (5, 5, 10));
    }
}

#[tokio::test]
async fn a_drained_broker_is_emptied_and_it_can_be_stopped() {
    let (rig, _clients) = crowded(20, Version::V5).await;
    let mut snapshot = rig.snapshot();
    snapshot.backends[0].accepts = false;
    rig.apply(snapshot);
    let address = rig.spec.address;
    let idle = rig.proxies.rebalance(address, rules(20), Vec::new(), false).unwrap();
    assert_eq!(idle.moves, 0, "one that is down keeps what it has");
    let drained = rig.proxies.rebalance(address, rules(20), vec![1], true).unwrap();
    assert_eq!(drained.moves, 20);
    let moved = || rig.proxies.rebalancing(address, false).unwrap().moved;
    until("begun", || moved() > 0).await;
    let stopped = rig.proxies.rebalancing(address, true).unwrap();
    assert_eq!(stopped.end, Some(Ended::Stopped));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(moved(), stopped.moved, "it has ended");
    assert!(moved() < 20);
    let _ = rig.proxies.rebalance(address, rules(1000), vec![1], true).unwrap();
    until("empty", || rig.connections() == 0).await;
}
