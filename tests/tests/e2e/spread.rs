//! Where connections go.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_tests::balancer::service_name;
use lb_tests::exclusive;
use lb_tests::fleet::Report;
use lb_tests::topology::{Arms, Family};
use serde_json::Value;

use super::{GRACE, Stage, wait_named};

const CLIENTS: u32 = 1000;
const WEIGHTS: [u16; 3] = [100, 200, 300];
/// The share of a backend among so many connections strays further than this by chance once in
/// three million times.
const STANDARD_DEVIATIONS: f64 = 5.0;

fn a_thousand_connections_spread(arms: Arms) {
    let _exclusive = exclusive();
    let stage = Stage::with_config(arms, WEIGHTS.len(), |config| {
        for service in config["services"].as_array_mut().unwrap() {
            for (backend, weight) in
                service["backends"].as_array_mut().unwrap().iter_mut().zip(WEIGHTS)
            {
                backend["weight"] = weight.into();
            }
        }
    });
    for family in Family::ALL {
        let fleet = stage.connect(family, CLIENTS);
        wait_named(&fleet);
        let report = fleet.report();
        assert_shares_follow_weights(&report.clients_by_broker());
        assert_flows_are_where_the_brokers_say(&stage, family, &report);
        assert_explained_as_the_ring_has_it(&stage, family, &report);
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
}

fn assert_shares_follow_weights(shares: &BTreeMap<String, usize>) {
    let total: u16 = WEIGHTS.iter().sum();
    for (index, weight) in WEIGHTS.into_iter().enumerate() {
        let share = f64::from(weight) / f64::from(total);
        let expected = f64::from(CLIENTS) * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        let name = format!("broker-{}", index + 1);
        let found = f64::from(u32::try_from(shares[&name]).unwrap());
        assert!(
            (found - expected).abs() < STANDARD_DEVIATIONS * deviation,
            "{name} should have about {expected:.0}: {shares:?}"
        );
    }
}

/// The connection table and the brokers, who tell their clients their names, agree about each one.
fn assert_flows_are_where_the_brokers_say(stage: &Stage, family: Family, report: &Report) {
    let flows =
        stage.balancer.json(&format!("flows --service {} --limit 5000", service_name(family)));
    let flows = flows.unwrap();
    let open = flows["flows"].as_array().unwrap().iter().filter(|flow| flow["closed"] == false);
    let table: BTreeMap<SocketAddr, String> = open.map(client_and_backend).collect();
    for client in &report.clients {
        let local = client.local.unwrap();
        assert_eq!(table.get(&local), client.broker.as_ref(), "the flow of {local}");
    }
}

fn client_and_backend(flow: &Value) -> (SocketAddr, String) {
    let client = flow["client"].as_str().unwrap().parse().unwrap();
    (client, flow["backend"].as_str().unwrap().to_owned())
}

/// The ring alone, asked about a client's address and port, names the broker it has reached.
fn assert_explained_as_the_ring_has_it(stage: &Stage, family: Family, report: &Report) {
    let vip = stage.topology.vip(family);
    for client in report.clients.iter().step_by(50) {
        let local = client.local.unwrap();
        let explained = stage.balancer.json(&format!("explain {local} {vip}")).unwrap();
        let broker = client.broker.as_ref().unwrap();
        let expected = format!("{}/{broker}", service_name(family));
        assert_eq!(explained["slot_backend"], expected, "{explained:#}");
    }
}

#[test]
fn a_thousand_connections_spread_as_the_ring_says_on_one_arm() {
    a_thousand_connections_spread(Arms::One);
}

#[test]
fn a_thousand_connections_spread_as_the_ring_says_on_two_arms() {
    a_thousand_connections_spread(Arms::Two);
}
