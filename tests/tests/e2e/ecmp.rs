//! Two balancers behind a router that spreads connections over both (ECMP), brokers that answer
//! directly: they agree without talking, so that either can go on with the connections of the other.

use std::time::Duration;

use lb_tests::balancer::{self, Balancer};
use lb_tests::broker::Broker;
use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Traffic};
use lb_tests::scratch::Scratch;
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};

use super::{LIMIT, wait_named};

/// Of each family.
const CLIENTS: u32 = 500;

fn config(topology: &Topology) -> Value {
    let mut config = balancer::config(topology);
    // Each balancer has other addresses, which nobody needs here.
    config.as_object_mut().unwrap().remove("nat");
    config["seed"] = json!("000102030405060708090a0b0c0d0e0f");
    for service in config["services"].as_array_mut().unwrap() {
        service["mode"] = json!("dsr");
    }
    config
}

/// How many SYNs this balancer has led to brokers.
fn attempts(balancer: &Balancer) -> u64 {
    let status = balancer.json("status").unwrap();
    let services = status["services"].as_array().unwrap();
    services.iter().map(|service| service["traffic"]["attempted"].as_u64().unwrap()).sum()
}

fn connect(topology: &Topology, family: Family) -> Fleet {
    let plan = Plan {
        sources: topology.client_addresses(family),
        traffic: Traffic::ClosedLoop { pause: Duration::from_secs(1) },
        prefix: format!("behind-{}", balancer::service_name(family)),
        ..Plan::new(topology.vip(family), CLIENTS)
    };
    let fleet = Fleet::start(topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    wait_named(&fleet);
    fleet
}

#[test]
fn no_connection_is_lost_when_one_of_two_balancers_dies() {
    let _exclusive = exclusive();
    let mut topology = Topology::new(Arms::One, 3).unwrap();
    topology.give_brokers_the_vips().unwrap();
    let second_place = topology.add_balancer().unwrap();
    let router = topology.add_router().unwrap();
    let _brokers = Broker::start_all(&topology).unwrap();
    let (mut config, directory) = (config(&topology), Scratch::new().unwrap());
    let first = Balancer::start(&topology, &config).unwrap();
    balancer::move_to(&mut config, &directory);
    let program = balancer::program().unwrap();
    let mut second = Balancer::start_in(&second_place, &directory, &config, program).unwrap();
    first.wait_active(LIMIT).unwrap();
    second.wait_active(LIMIT).unwrap();

    let fleets = Family::ALL.map(|family| connect(&topology, family));
    let shares = [attempts(&first), attempts(&second)];
    assert!(shares.iter().all(|share| *share > 300), "the router prefers one: {shares:?}");
    let before = fleets.each_ref().map(|fleet| fleet.report().clients_by_broker());
    assert!(before.iter().all(|shares| shares.len() == 3), "{before:?}");

    for (fleet, family) in fleets.iter().zip(Family::ALL) {
        for client in fleet.report().clients.iter().step_by(25) {
            let question = format!("explain {} {}", client.local.unwrap(), topology.vip(family));
            let says = |balancer: &Balancer| balancer.json(&question).unwrap()["backend"].clone();
            let reached =
                format!("{}/{}", balancer::service_name(family), client.broker.as_ref().unwrap());
            assert_eq!([says(&first), says(&second)], [json!(reached), json!(reached)]);
        }
    }

    // All at once: its controller, its program, and its way to the network.
    second.kill();
    second_place.ip("link set eth0 down\n").unwrap();
    topology.lead_to_first(&router).unwrap();
    for (fleet, before) in fleets.iter().zip(before) {
        fleet.wait_exchanged(1, LIMIT).unwrap();
        let report = fleet.report();
        assert_eq!(report.clients_by_broker(), before);
        assert_eq!(report.connected(), CLIENTS as usize);
        assert!(report.disconnects.is_empty(), "{:?}", report.disconnects.first());
    }
    // Nobody has opened anew, and nobody had to be tracked.
    assert_eq!(attempts(&first), shares[0]);
    assert_eq!(first.json("flows --limit 0").unwrap()["count"], json!(0));
    for fleet in fleets {
        fleet.stop(super::GRACE).unwrap().assert_undisturbed();
    }
}
