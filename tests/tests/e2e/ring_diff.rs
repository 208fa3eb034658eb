//! `mqlb ring diff`: what it says beforehand is what happens.

use lb_tests::balancer;
use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::{GRACE, Stage, wait_named};

fn slots(stage: &Stage, service: &str) -> Vec<(String, u64)> {
    let backends = stage.balancer.json(&format!("backend list {service}")).unwrap();
    let backends = backends.as_array().unwrap().iter();
    let slots = |backend: &Value| {
        (backend["name"].as_str().unwrap().to_owned(), backend["slots"].as_u64().unwrap())
    };
    backends.map(slots).collect()
}

#[test]
fn what_a_change_would_move_is_what_it_moves() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 3);
    let fleet = stage.connect(Family::V4, 60);
    wait_named(&fleet);
    let service = balancer::service_name(Family::V4);
    let before = slots(&stage, service);
    let remove = format!("ring diff --remove {service}/broker-3 --weight {service}/broker-1=300");
    let said = stage.balancer.json(&remove).unwrap();
    assert_eq!(slots(&stage, service), before, "nothing was changed");
    let [moves] = &said["services"].as_array().unwrap()[..] else { panic!("{said}") };
    let shares = fleet.report().clients_by_broker();
    assert_eq!(moves["connections"]["known"], json!(60));
    assert_eq!(moves["connections"]["reset"], json!(shares["broker-3"]));
    for backend in moves["backends"].as_array().unwrap() {
        let name = backend["name"].as_str().unwrap();
        assert_eq!(backend["connections"], json!(shares[name]), "{said}");
    }

    stage.balancer.run_ctl(&format!("backend remove {service}/broker-3")).unwrap();
    stage.balancer.run_ctl(&format!("backend weight {service}/broker-1 300")).unwrap();
    for (name, slots) in slots(&stage, service) {
        let backend = moves["backends"].as_array().unwrap().iter().find(|b| b["name"] == *name);
        assert_eq!(backend.unwrap()["slots_after"], json!(slots), "{name}");
    }
    drop(fleet.stop(GRACE));
}
