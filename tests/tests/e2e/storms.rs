//! Floods of SYNs, and who does not notice them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan};
use lb_tests::flood::{Flood, Source};
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::{GRACE, LIMIT, Stage};

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

/// Changes the configuration of the running balancer.
fn reload(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(stage.balancer.config_file()).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    stage.balancer.write_config(&config).unwrap();
    stage.balancer.run_ctl("reload").unwrap();
}

/// Waits until so many packets had this verdict.
fn wait_counted(stage: &Stage, verdict: &str, least: u64) {
    let counted = |status: &Value| status["verdicts"][verdict].as_u64().unwrap() >= least;
    stage.balancer.wait_status(LIMIT, counted).unwrap();
}

fn verdicts(stage: &Stage) -> impl Fn(&str) -> u64 {
    let status = stage.balancer.json("status").unwrap();
    move |verdict| status["verdicts"][verdict].as_u64().unwrap()
}

/// Runs `meanwhile` beside a flood, and returns how many SYNs were sent.
fn beside_a_flood(stage: &Stage, source: Source, meanwhile: impl FnOnce()) -> u64 {
    let flood = Flood::new(&stage.topology, source, stage.topology.vip(Family::V4)).unwrap();
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
    let sent = beside_a_flood(stage, Source::One(STRANGER), || {
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

#[test]
fn a_flood_of_forged_sources_fills_no_table_where_brokers_answer_directly() {
    let _exclusive = exclusive();
    let stage = Stage::with_config(Arms::One, 2, directly);
    stage.topology.give_brokers_the_vips().unwrap();
    let busy = stage.busy();
    let sent = beside_a_flood(&stage, Source::Forged, || {
        assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
        busy.exchange();
    });
    assert!(sent >= LEAST);
    let status = stage.balancer.json("status").unwrap();
    assert_eq!([&status["tables"]["flows"], &status["tables"]["pending"]], [&json!(0), &json!(0)]);
    busy.assert_undisturbed();
}

#[test]
fn who_is_denied_keeps_its_connections_and_gets_in_again_after_a_reload() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 2);
    let busy = stage.busy();
    let denied = stage.topology.client_addresses(Family::V4)[1];
    reload(&stage, |config| config["sources"] = json!({ "deny": [denied] }));
    let plan = Plan { sources: vec![denied], prefix: "denied".into(), ..stage.plan(Family::V4, 5) };
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    wait_counted(&stage, "source_denied", 5);
    assert_eq!(fleet.report().connects, 0);
    let explained =
        stage.balancer.run_ctl(&format!("explain {denied}:1 {}", stage.topology.vip(Family::V4)));
    assert!(explained.unwrap().contains(&format!("{denied}/32 is denied")));
    reload(&stage, |config| config["sources"] = json!({}));
    fleet.wait_connected(LIMIT).unwrap();
    busy.assert_undisturbed();
}

fn late(stage: &Stage) -> Fleet {
    let plan = Plan { prefix: "late".into(), ..stage.plan(Family::V4, 1) };
    Fleet::start(stage.topology.clients(), plan).unwrap()
}

#[test]
fn a_full_broker_refuses_until_connections_end_whether_a_controller_ran_or_not() {
    let _exclusive = exclusive();
    let mut stage = Stage::with_config(Arms::Two, 1, |config| {
        for service in config["services"].as_array_mut().unwrap() {
            service["max_connections"] = json!(10);
        }
    });
    let first = stage.connect(Family::V4, 10);
    stage.balancer.kill();
    let refused = late(&stage);
    stage.balancer.run().unwrap();
    wait_counted(&stage, "backend_full_reset", 1);
    assert_eq!(refused.report().connects, 0);
    first.stop(GRACE).unwrap();
    let empty = |status: &Value| status["services"][0]["traffic"]["open"] == json!(0);
    stage.balancer.wait_status(LIMIT, empty).unwrap();
    late(&stage).wait_connected(LIMIT).unwrap();
}
