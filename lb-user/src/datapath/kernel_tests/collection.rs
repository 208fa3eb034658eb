//! Collection of flows and of their source ports.

use std::time::Instant;

use super::*;
use crate::{control::direct::DirectRings, datapath::now};

#[test]
#[ignore = "needs root"]
fn a_sweep_of_ten_thousand_flows_takes_the_idle_ones_and_rests_their_ports() {
    in_a_sandbox("sweep", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 20_000)).unwrap();
        fill(&mut xdp);
        let now = now().max(2000);
        let mut live = Vec::new();
        for number in 0..10_000 {
            // One of four was idle for too long; one of four is closed, and seen just now.
            let idle = number % 4 == 0;
            let key = open_flow(&xdp, number, if idle { now - 1001 } else { now }, number % 4 == 1);
            if !idle {
                live.push((number, key));
            }
        }
        let report = xdp.sweep(now, &DirectRings::default()).unwrap();
        assert_eq!(report.flows, 7500);
        assert_eq!(report.expired[&BACKEND], 2500);
        assert_eq!(report.open[&BACKEND], 5000);
        assert_eq!(count(&xdp), 7500);
        for (number, key) in &live {
            assert!(xdp.flow(key).unwrap().is_some());
            assert!(
                xdp.known.ports[&FIRST_PEER][usize::from(*number)].owner().has(port_flags::CLAIMED)
            );
        }
        let freed = &xdp.known.ports[&FIRST_PEER][0];
        assert!(freed.owner().has(port_flags::RESTING));
        assert_eq!(freed.owner().resting_since(), now);

        // A minute later the closed ones are over, too; they are not counted twice.
        let report = xdp.sweep(now + 61, &DirectRings::default()).unwrap();
        assert_eq!((report.flows, report.expired.len()), (5000, 0));

        xdp.apply(&Edit::Purge { backend: BACKEND }).unwrap();
        assert_eq!(count(&xdp), 0);
        let ports = &xdp.known.ports[&FIRST_PEER];
        assert!(!ports.iter().any(|port| port.owner().has(port_flags::CLAIMED)));
        xdp.apply(&Edit::RemovePeer { key: PEER, peer: FIRST_PEER }).unwrap();
        xdp.apply(&Edit::ClearBackend { id: BACKEND }).unwrap();
        xdp.apply(&Edit::RemoveService { key: SERVICE.key, id: 0 }).unwrap();
        xdp.apply(&Edit::RemoveRing { service: 0 }).unwrap();
        assert_eq!(pinned(&pin_dir.join("ports")), Vec::<PathBuf>::new());
    });
}

#[test]
#[ignore = "needs root"]
fn a_port_without_a_flow_is_freed_by_the_second_sweep() {
    in_a_sandbox("orphan", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, 1000)).unwrap();
        fill(&mut xdp);
        let key = open_flow(&xdp, 3, now(), false);
        xdp.tables.flows.remove(&key).unwrap();
        xdp.sweep(now(), &DirectRings::default()).unwrap();
        assert!(xdp.known.ports[&FIRST_PEER][3].owner().has(port_flags::CLAIMED));
        xdp.sweep(now(), &DirectRings::default()).unwrap();
        assert!(xdp.known.ports[&FIRST_PEER][3].owner().has(port_flags::RESTING));
    });
}

/// Prints what a pass over a million entries takes: `cargo test --release -p lb-user --lib
/// a_million_entries -- --ignored --nocapture`.
#[test]
#[ignore = "needs root"]
fn a_million_entries_are_swept_in_one_pass() {
    const ENTRIES: u32 = 1_000_000;
    const PEERS: u32 = ENTRIES.div_ceil(PORTS as u32);
    in_a_sandbox("million", |pin_dir| {
        let mut xdp = Xdp::start(&config(pin_dir, BOTH, ENTRIES)).unwrap();
        fill(&mut xdp);
        let peers: Vec<_> = (0..PEERS)
            .map(|peer| Edit::PutPeer { key: peer_key(peer), peer: FIRST_PEER + peer })
            .collect();
        xdp.prepare(&peers).unwrap();
        for edit in &peers {
            xdp.apply(edit).unwrap();
        }
        let now = now().max(2000);
        insert_a_million(&xdp, now);
        for left in [ENTRIES, ENTRIES / 2] {
            let later = if left == ENTRIES { now } else { now + 500 };
            let start = Instant::now();
            let report = xdp.sweep(later, &DirectRings::default()).unwrap();
            let per_entry = start.elapsed().as_nanos() / u128::from(ENTRIES);
            println!("swept {ENTRIES}, {left} left: {per_entry} ns per entry");
            assert_eq!(report.flows, u64::from(left));
        }
    });
}

fn peer_key(peer: u32) -> PeerKey {
    PeerKey { port: (peer as u16).to_be_bytes(), ..PEER }
}

/// Every second entry is over 500 ticks after `now`.
fn insert_a_million(xdp: &Xdp, now: u32) {
    let entry = |number: u32| {
        let (peer, index) = (number / u32::from(PORTS), (number % u32::from(PORTS)) as u16);
        let client = Addr::v4(number.to_be_bytes());
        let port = &xdp.known.ports[&(FIRST_PEER + peer)][usize::from(index)];
        assert!(port.take(Owner::FREE, Owner::claimed(BACKEND, [1, 2])));
        port.set_client(client);
        let flow = Flow {
            word: BACKEND << 8,
            nat_port: (FIRST_PORT + index).to_be_bytes(),
            source: peer as u16,
            last_seen: now,
            idle_ticks: if number.is_multiple_of(2) { 400 } else { 1000 },
        };
        (FlowKey::new(client, [1, 2], 0), flow)
    };
    for first in (0..1_000_000).step_by(10_000) {
        let (keys, flows): (Vec<_>, Vec<_>) = (first..first + 10_000).map(entry).unzip();
        xdp.tables.flows.put_batch(&keys, &flows).unwrap();
    }
}
