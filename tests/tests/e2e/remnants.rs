//! Connections that brokers still hold and the balancer has forgotten.

use std::time::Duration;

use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Traffic};
use lb_tests::topology::{Arms, Family};
use serde_json::json;

use super::{GRACE, LIMIT, Stage, wait_named};

/// Source ports of the balancer in each family.
const PORTS: usize = 100;
/// Connections at a time in each family.
const CLIENTS: usize = 80;

fn fleets(stage: &Stage, prefix: &str, traffic: Traffic) -> [Fleet; 2] {
    Family::ALL.map(|family| {
        // Of each fleet another: a broker ends the older of two connections of one client.
        let prefix = format!("{prefix}-{family:?}");
        let plan = Plan { traffic, prefix, ..stage.plan(family, CLIENTS as u32) };
        let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
        fleet.wait_connected(LIMIT).unwrap();
        wait_named(&fleet);
        fleet
    })
}

/// A balancer that starts afresh gives out ports under which brokers still have connections. The
/// broker challenges the new client, which resets the old connection and is then let in.
#[test]
fn a_fresh_balancer_connects_clients_through_ports_that_brokers_still_hold() {
    let _exclusive = exclusive();
    let mut stage = Stage::with_config(Arms::Two, 1, |config| {
        config["nat"]["ports"] = json!(format!("15000-{}", 15_000 + PORTS - 1));
    });
    let old = fleets(&stage, "old", Traffic::Idle);
    // As if the machine were off: else its kernel would answer what the broker still sends by RST.
    let to_brokers = stage.topology.balancer_ports()[1];
    let set = |state| stage.topology.switch().ip(&format!("link set {to_brokers} {state}\n"));
    set("down").unwrap();
    stage.balancer.stop().unwrap();
    stage.balancer.detach().unwrap();
    // The clients end their connections, and the broker does not hear of it.
    drop(old);
    let held = stage.brokers[0].connections().unwrap();
    // More than 20 of each family, then: as many new ones as clients have ports in common with them.
    assert!(held > PORTS, "the broker holds only {held} connections");

    set("up").unwrap();
    stage.balancer.run().unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    let traffic = Traffic::ClosedLoop { pause: Duration::from_millis(100) };
    for fleet in fleets(&stage, "new", traffic) {
        fleet.wait_exchanged(3, LIMIT).unwrap();
        let report = fleet.stop(GRACE).unwrap();
        report.assert_undisturbed();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }
}
