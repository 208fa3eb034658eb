//! Brokers on the balancer's link that answer the clients themselves.

use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::{LIMIT, Stage, wait_named};

fn dsr(config: &mut Value) {
    for service in config["services"].as_array_mut().unwrap() {
        service["mode"] = json!("dsr");
    }
}

fn stage(brokers: usize) -> Stage {
    let stage = Stage::with_config(Arms::One, brokers, dsr);
    stage.topology.give_brokers_the_vips().unwrap();
    stage
}

#[test]
fn brokers_see_the_clients_own_addresses() {
    let _exclusive = exclusive();
    let stage = stage(3);
    for family in Family::ALL {
        let fleet = stage.connect(family, 60);
        wait_named(&fleet);
        assert_eq!(fleet.report().clients_by_broker().len(), 3);
        let clients = stage.topology.client_addresses(family);
        for broker in &stage.brokers {
            let peers = broker.peers().unwrap();
            let seen = peers.iter().filter(|peer| clients.contains(&peer.ip())).count();
            assert!(seen > 0, "{peers:?}");
        }
    }
}

#[test]
fn connections_that_nobody_tracks_survive_every_change() {
    let _exclusive = exclusive();
    let mut stage = stage(3);
    let busy = stage.busy();
    let before = busy.reports().map(|report| report.clients_by_broker());
    let flows = stage.balancer.json("flows --limit 0").unwrap();
    assert_eq!(flows["count"], json!(0), "nothing was tracked");

    let index = stage.start_broker();
    stage.topology.give_broker_the_vips(index).unwrap();
    stage.add_backend(index);
    assert!(stage.reached_by_new_clients().contains(&"broker-4".to_owned()));
    stage.backend("drain", "broker-1", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3", "broker-4"]);
    stage.backend("weight", "broker-2", |_| "500".into());
    stage.balancer.kill();
    busy.exchange();
    stage.balancer.run().unwrap();
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3", "broker-4"]);
    stage.backend("undrain", "broker-1", |_| String::new());
    stage.balancer.wait_active(LIMIT).unwrap();
    assert_eq!(busy.reports().map(|report| report.clients_by_broker()), before);
    busy.assert_undisturbed();
}

#[test]
fn clients_on_a_slot_in_transition_stay_with_the_new_owner() {
    let _exclusive = exclusive();
    let mut stage = stage(2);
    let index = stage.start_broker();
    stage.topology.give_broker_the_vips(index).unwrap();
    stage.add_backend(index);
    let busy = stage.busy();
    let before = busy.reports().map(|report| report.clients_by_broker());
    assert!(before.iter().all(|shares| shares["broker-3"] > 0), "{before:?}");
    // The slots go back to where they came from.
    stage.backend("drain", "broker-3", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
    stage.balancer.kill();
    stage.balancer.run().unwrap();
    busy.exchange();
    assert_eq!(busy.reports().map(|report| report.clients_by_broker()), before);
    busy.assert_undisturbed();
}
