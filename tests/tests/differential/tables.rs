//! The tables of the program against those of the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use anyhow::{Result, ensure};
use lb_common::{
    flow::{Flow, FlowKey},
    layout::maps,
};
use lb_ebpf::host::golden::Net;
use lb_tests::kernel::Kernel;

use crate::{model::Model, setup::Mode};

fn key(client: SocketAddr) -> FlowKey {
    FlowKey::new(client.ip().into(), client.port().to_be_bytes(), Net::SERVICE)
}

/// The source port of a handshake under way.
pub fn handshake_port(kernel: &Kernel, client: SocketAddr) -> Option<u16> {
    let flow = kernel.flow(maps::PENDING, &key(client)).ok()??;
    Some(u16::from_be_bytes(flow.nat_port))
}

/// Fails unless all entries and all counters of brokers are the same.
pub fn compare(kernel: &Kernel, model: &Model) -> Result<()> {
    let (pending, flows, learned) = if model.setup.mode == Mode::Nat {
        (nat(&model.handshakes), nat(&model.flows), BTreeMap::new())
    } else {
        let openings = model.openings.iter().map(|(client, it)| {
            let flow = Flow::opening(it.broker, it.first, it.seen);
            let word = flow.word | u32::from(it.promoted) << 1;
            (key(*client), Flow { word, idle_ticks: it.last, ..flow })
        });
        let tracked = |flows: &BTreeMap<SocketAddr, crate::model::Tracked>| {
            let idle = model.setup.idle_ticks;
            let entry = |(client, it): (&SocketAddr, &crate::model::Tracked)| {
                (key(*client), Flow::tracked(it.broker, it.seen, idle))
            };
            flows.iter().map(entry).collect()
        };
        (openings.collect(), tracked(&model.tracked), tracked(&model.learned))
    };
    for (name, expected) in
        [(maps::PENDING, pending), (maps::FLOWS, flows), (maps::LEARNED, learned)]
    {
        let found = kernel.flows(name)?;
        let only_one = || found.iter().find(|it| expected.get(it.0) != Some(it.1));
        let missing = || expected.iter().find(|it| found.get(it.0) != Some(it.1));
        ensure!(found == expected, "{name}: {:?}, not {:?}", only_one(), missing());
    }
    let missed = kernel.missed(Net::SERVICE)?;
    let expected: BTreeSet<u32> = model.missed.iter().map(|slot| *slot as u32).collect();
    ensure!(missed == expected, "missed slots {missed:?}, not {expected:?}");
    let claimed = kernel.claimed_ports()?;
    let expected: BTreeSet<(u32, u32)> = model.claimed_ports().collect();
    let leaked: Vec<_> = claimed.difference(&expected).collect();
    ensure!(claimed == expected, "ports {leaked:?} are claimed, not {expected:?} alone");
    for broker in 1..=model.setup.brokers.len() as u32 {
        let found = kernel.counters_of(broker)?;
        let expected = model.counters.get(&broker).copied().unwrap_or_default();
        ensure!(found == expected, "broker {broker}: {found:?}, not {expected:?}");
    }
    Ok(())
}

fn nat(flows: &BTreeMap<SocketAddr, crate::model::NatFlow>) -> BTreeMap<FlowKey, Flow> {
    let entry = |(client, it): (&SocketAddr, &crate::model::NatFlow)| {
        let flags = u32::from(it.closed) | u32::from(it.unread) << 2;
        let flow = Flow {
            word: it.broker << 8 | flags,
            nat_port: it.port.to_be_bytes(),
            source: 0,
            last_seen: it.seen,
            idle_ticks: it.idle,
        };
        (key(*client), flow)
    };
    flows.iter().map(entry).collect()
}
