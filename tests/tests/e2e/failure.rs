//! Brokers that fail.

use std::time::Duration;

use lb_tests::broker::{Broker, Kind};
use lb_tests::fleet::{Fleet, Plan, Reason, Reconnect, Traffic};
use lb_tests::topology::{Arms, Family, Topology};
use lb_tests::{balancer, exclusive};

use super::{GRACE, LIMIT, Stage};

/// The harness' configuration: two failed checks, half a second apart and a tenth more by jitter,
/// the last of which may take 300 ms.
const DETECTION: Duration = Duration::from_millis(2 * 550 + 300);
/// What the requirement allows beyond it.
const ALLOWED: Duration = Duration::from_secs(2);

fn the_clients_of_a_killed_broker_return(arms: Arms, family: Family) {
    let _exclusive = exclusive();
    let stage = Stage::new(arms, 3);
    let plan = Plan {
        traffic: Traffic::ClosedLoop { pause: Duration::from_millis(100) },
        reconnect: Reconnect::After(Duration::from_millis(100)),
        ..stage.plan(family, 300)
    };
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    fleet.wait_exchanged(3, LIMIT).unwrap();
    let victims = fleet.report().clients_by_broker()["broker-1"];
    assert!(victims > 50);
    stage.brokers[0].process().kill();
    std::thread::sleep(DETECTION + ALLOWED);
    fleet.wait_connected(LIMIT).unwrap();
    let report = fleet.stop(GRACE).unwrap();
    assert_eq!(report.disconnects.len(), victims, "its clients, each once, and nobody else");
    report.assert_only_disturbed("broker-1");
    for disconnect in &report.disconnects {
        let back = disconnect.back_after.unwrap();
        assert!(back < DETECTION + ALLOWED, "{disconnect:?}");
    }
}

#[test]
fn only_the_clients_of_a_killed_broker_notice_and_are_soon_back_on_one_arm() {
    the_clients_of_a_killed_broker_return(Arms::One, Family::V6);
}

#[test]
fn only_the_clients_of_a_killed_broker_notice_and_are_soon_back_on_two_arms() {
    the_clients_of_a_killed_broker_return(Arms::Two, Family::V4);
}

#[test]
fn a_backend_that_starts_down_gets_no_connection_until_it_is_up() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 2).unwrap();
    let mut brokers = vec![Broker::start(&topology, 0, &Kind::Mosquitto).unwrap()];
    let balancer = balancer::Balancer::start(&topology, &balancer::config(&topology)).unwrap();
    balancer
        .wait_status(LIMIT, |status| {
            let services = status["services"].as_array().unwrap();
            services.iter().all(|service| {
                service["backends"][0]["state"] == "active"
                    && service["backends"][1]["state"] == "down"
            })
        })
        .unwrap();
    let stage_without = |brokers| Stage { balancer, brokers, topology };
    let mut stage = stage_without(std::mem::take(&mut brokers));
    assert_eq!(stage.reached_by_new_clients(), ["broker-1"]);
    stage.brokers.push(Broker::start(&stage.topology, 1, &Kind::Mosquitto).unwrap());
    stage.balancer.wait_active(LIMIT).unwrap();
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
}

#[test]
fn without_a_backend_a_connection_is_reset_or_dropped_as_configured() {
    let _exclusive = exclusive();
    let stage = Stage::with_config(Arms::Two, 1, |config| {
        let services = config["services"].as_array_mut().unwrap();
        for (service, refusal) in services.iter_mut().zip(["reset", "drop"]) {
            service["all_down"] = "refuse".into();
            service["no_backend"] = refusal.into();
        }
    });
    stage.brokers[0].process().kill();
    let refusing = |status: &serde_json::Value| {
        let services = status["services"].as_array().unwrap();
        services.iter().all(|service| service["state"] == "refusing")
    };
    stage.balancer.wait_status(LIMIT, refusing).unwrap();
    let reset = Reason::Tcp(std::io::ErrorKind::ConnectionRefused);
    for (family, expected) in Family::ALL.into_iter().zip([reset, Reason::NoAnswer]) {
        let plan = Plan { connect_limit: Duration::from_secs(2), ..stage.plan(family, 5) };
        let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let report = fleet.stop(Duration::ZERO).unwrap();
        let reasons: Vec<&Reason> = report.failures.iter().map(|failure| &failure.reason).collect();
        assert_eq!(reasons, [&expected; 5], "{family:?}");
    }
}
