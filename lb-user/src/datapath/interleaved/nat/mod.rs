//! Mode `nat`: no flow loses its source port, or its place in the tables.

mod script;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
};

use lb_common::{
    addr::Addr,
    flow::{Flow, FlowKey},
    port::port_flags,
    verdict::Verdict,
};
use lb_ebpf::{
    host::{Frame, golden::Net},
    process,
};

use self::{
    script::{NET, Order, PORTS, Script, Segment, client, from_broker, from_client},
    world::{Collected, Shared},
};
use super::{
    super::{
        collect::{self, FlowTables},
        known::Place,
        loads,
        orphans::Suspects,
        removal, sweep,
    },
    schedule::{Schedule, grace, quiet, section, time, without_steps},
    try_orders,
};

/// Runs the script of a seed and judges it; panics if a rule is broken.
fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let script = Script::new(&mut random);
    let mut world = NET.world();
    world.settings.ports = PORTS;
    let shared = Shared::new(world, script.room);
    let mut last = (1, 0);
    for segment in script.stages.iter().flatten() {
        arrive(&shared, *segment, &mut last);
    }
    shared.now.fetch_add(script.pause, Relaxed);
    let shared = &shared;
    let cpu = |segments: Vec<Segment>| {
        move || {
            let mut last = (1, 0);
            for segment in segments {
                section(|| arrive(shared, segment, &mut last));
            }
        }
    };
    let [first, second] = script.cpus.clone();
    let mut suspects = Suspects::default();
    Schedule::run(
        random,
        vec![
            Box::new(cpu(first)),
            Box::new(cpu(second)),
            Box::new(|| script.orders.iter().for_each(|o| obey(shared, *o, &mut suspects))),
            Box::new(|| {
                for ticks in &script.clock {
                    // Far less than a tick passes while a packet is under way.
                    quiet();
                    shared.now.fetch_add(*ticks, Relaxed);
                }
            }),
        ],
    );
    judge_tables(shared);
    let removed = script.orders.iter().any(|order| matches!(order, Order::Remove));
    let before = entries(shared);
    assert!(!removed || before.iter().all(|(_, flow)| flow.backend() != 1), "{before:?}");
    for _ in 0..2 {
        obey(shared, Order::Sweep, &mut suspects);
        judge_tables(shared);
        // What an unlucky order of steps has left wrong, a sweep has put right.
        judge_counts(shared);
    }
}

/// A segment arrives; `last` is the broker and the port that the last client's segment led to.
fn arrive(shared: &Shared, segment: Segment, last: &mut (u8, u16)) {
    let frame = match segment {
        Segment::Client(number, kind) => from_client(number, kind),
        Segment::Broker(number, index, kind) => from_broker(number, index, kind),
        Segment::Answer(kind) => from_broker(last.0, last.1, kind),
    };
    let Segment::Client(number, _) = segment else {
        process(&mut frame.bytes(), &shared);
        return;
    };
    let (address, port) = client(number);
    let key = FlowKey::new(address.into(), port.to_be_bytes(), Net::SERVICE);
    let begun = time();
    let before = without_steps(|| connection(shared, &key));
    let (verdict, flow) = send(shared, &frame);
    let after = without_steps(|| connection(shared, &key));
    if verdict != Verdict::ToBackend {
        return;
    }
    *last = flow;
    let broker = Addr::from(NET.broker(flow.0).0);
    let leads_there = |life: &Flow| {
        shared.backend_now(life.backend()).address == broker
            && life.nat_port == (Net::NAT_PORT + flow.1).to_be_bytes()
    };
    let story = shared.story.lock().unwrap();
    let was_its_own = story.iter().any(|life| {
        life.key == key && leads_there(&life.flow) && life.died.is_none_or(|died| died >= begun)
    });
    assert!(was_its_own, "{segment:?} went to another flow: {flow:?}");
    if let (Some((first, life)), Some((second, _))) = (before, after)
        && first == second
    {
        assert!(leads_there(&life), "{segment:?} left its connection {life:?} for {flow:?}");
    }
}

/// Sends a segment to the VIP: its verdict, and the broker and the port that it led to.
fn send(shared: &Shared, frame: &Frame) -> (Verdict, (u8, u16)) {
    let mut bytes = frame.bytes();
    let outcome = process(&mut bytes, &shared);
    let nat_port = u16::from_be_bytes([bytes.0[34], bytes.0[35]]);
    // Brokers are numbered from the octet 10 on.
    (outcome.verdict, (bytes.0[33].wrapping_sub(10), nat_port.wrapping_sub(Net::NAT_PORT)))
}

/// The connection of a client: its number and the entry.
fn connection(shared: &Shared, key: &FlowKey) -> Option<(usize, Flow)> {
    let all = shared.flows.list();
    let (_, entry) = all.iter().find(|(other, _)| other == key)?;
    Some((entry.number, entry.flow()))
}

fn obey(shared: &Shared, order: Order, suspects: &mut Suspects) {
    let [pending, flows, learned] =
        [&shared.pending, &shared.flows, &shared.learned].map(|table| Collected(shared, table));
    let tables = FlowTables { pending: &pending, flows: &flows, learned: &learned };
    // Sweeps are seconds apart.
    grace();
    let now = shared.now.load(Relaxed);
    match order {
        Order::Sweep => {
            let counted = || shared.open.values().map(|open| open.load(Relaxed));
            let before: Vec<i64> = counted().collect();
            let report =
                collect::everything(&tables, &shared.known, suspects, &|_| None, now).unwrap();
            for ((id, open), before) in shared.open.iter().zip(before) {
                let by = loads::correction_of(*id, before, open.load(Relaxed), &report);
                open.fetch_add(by, Relaxed);
            }
        }
        Order::SweepPending => {
            collect::handshakes(&pending, &shared.known, now).unwrap();
        }
        Order::Drain | Order::Remove => {
            shared.ring.store(2, Relaxed);
            grace();
            let is_removed = matches!(order, Order::Remove);
            if !is_removed {
                return shared.drain(1);
            }
            shared.remove_backend(1);
            // At once: packets under way may have read the entry as it was before.
            let settle = || {
                grace();
                Ok(())
            };
            removal::purge(&tables, &shared.known, 1, now, settle).unwrap();
        }
    }
}

/// All entries of both tables.
fn entries(shared: &Shared) -> Vec<(FlowKey, Flow)> {
    let both = shared.pending.list().into_iter().chain(shared.flows.list());
    both.map(|(key, entry)| (key, entry.flow())).collect()
}

/// Nobody is under way: each entry has its port, and each port that is claimed its entry.
fn judge_tables(shared: &Shared) {
    let mut named = BTreeSet::new();
    for (table, is_promoted) in [(&shared.pending, false), (&shared.flows, true)] {
        for (key, entry) in table.list() {
            let flow = entry.flow();
            let (port, owner) = (shared.port_of(&flow), shared.port_of(&flow).owner());
            assert!(owner.is_of(port.client(), &key, &flow), "{key:?} {flow:?} lost its port");
            assert_eq!(owner.has(port_flags::PROMOTED), is_promoted, "{key:?} {flow:?}");
            assert!(named.insert(shared.known.place(&flow)), "two flows have one port: {flow:?}");
        }
    }
    let ports: BTreeMap<_, _> = shared.known.ports.iter().collect();
    for (peer, table) in ports {
        for (index, port) in table.iter().enumerate() {
            let owner = port.owner();
            assert!(!sweep::is_stuck(owner), "nobody can use port {index} of {peer}");
            let has_entry = named.contains(&Some(Place { peer: *peer, index }));
            assert_eq!(owner.has(port_flags::CLAIMED), has_entry, "port {index} of {peer}");
        }
    }
}

/// Nobody is under way: as many connections are counted as there are that have not ended.
fn judge_counts(shared: &Shared) {
    for backend in shared.open.keys() {
        let flows = shared.flows.list().into_iter().map(|(_, entry)| entry.flow());
        let open = flows.filter(|flow| flow.backend() == *backend && !flow.is_closed()).count();
        assert_eq!(
            shared.open[backend].load(Relaxed),
            open.cast_signed() as i64,
            "of backend {backend}"
        );
    }
}

#[test]
fn in_no_order_of_steps_a_flow_loses_its_port_or_its_place() {
    try_orders(6000, run);
}
