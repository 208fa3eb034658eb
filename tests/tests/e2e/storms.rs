//! Floods of SYNs, and who does not notice them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use lb_tests::exclusive;
use lb_tests::flood::Flood;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::Stage;

/// The least and the most SYNs of a flood. It lasts as long as what happens beside it.
const LEAST: u64 = 200_000;
const MOST: u64 = 2_000_000;

/// An address that no client has.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 1, 250));

/// Four addresses are enough for a few hundred honest clients, who come back as they like.
fn source_rates(config: &mut Value) {
    for service in config["services"].as_array_mut().unwrap() {
        service["syn_rates"] = json!({ "source": { "rate": 200, "burst": 1000 } });
    }
}

fn directly(config: &mut Value) {
    for service in config["services"].as_array_mut().unwrap() {
        service["mode"] = json!("dsr");
    }
}

fn verdicts(stage: &Stage) -> impl Fn(&str) -> u64 {
    let status = stage.balancer.json("status").unwrap();
    move |verdict| status["verdicts"][verdict].as_u64().unwrap()
}

/// Runs `meanwhile` beside a flood, and returns how many SYNs were sent.
fn beside_a_flood(stage: &Stage, sources: &[IpAddr], meanwhile: impl FnOnce()) -> u64 {
    let flood = Flood::new(&stage.topology, sources, stage.topology.vip(Family::V4)).unwrap();
    let over = AtomicBool::new(false);
    let enough = |sent| sent >= LEAST && over.load(Relaxed);
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.send(MOST, enough));
        meanwhile();
        over.store(true, Relaxed);
        flooding.join().unwrap().unwrap()
    })
}

/// A flood of one source reaches no broker but as fast as that source may, and nobody else notices.
fn a_flood_of_one_source(stage: &Stage) {
    let busy = stage.busy();
    let sent = beside_a_flood(stage, &[STRANGER], || {
        assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
        busy.exchange();
    });
    assert!(sent >= LEAST);
    let counted = verdicts(stage);
    assert!(counted("source_limited") >= sent / 2, "{} of {sent}", counted("source_limited"));
    assert_eq!(counted("pending_full") + counted("ports_exhausted"), 0);
    busy.assert_undisturbed();
}

#[test]
fn a_flood_of_one_source_disturbs_nobody() {
    let _exclusive = exclusive();
    a_flood_of_one_source(&Stage::with_config(Arms::Two, 2, source_rates));
}

#[test]
fn a_flood_of_one_source_disturbs_nobody_where_brokers_answer_directly() {
    let _exclusive = exclusive();
    let stage = Stage::with_config(Arms::One, 2, |config| {
        source_rates(config);
        directly(config);
    });
    stage.topology.give_brokers_the_vips().unwrap();
    a_flood_of_one_source(&stage);
    assert_eq!(stage.balancer.json("flows --limit 0").unwrap()["count"], json!(0));
}
