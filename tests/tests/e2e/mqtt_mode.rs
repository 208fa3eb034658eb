//! Services in the mode `mqtt`: accepted in userspace, led on by their CONNECT.

use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::{GRACE, Stage};

/// Both services in the mode `mqtt`, with these settings.
fn stage(brokers: usize, settings: &Value) -> Stage {
    Stage::with_config(Arms::Two, brokers, |config| {
        for service in config["services"].as_array_mut().unwrap() {
            service["mode"] = json!("mqtt");
            service["mqtt"] = settings.clone();
        }
    })
}

#[test]
fn clients_of_either_family_reach_every_broker_and_lose_nothing() {
    let _exclusive = exclusive();
    let stage = stage(3, &json!({}));
    let busy = stage.busy();
    for report in busy.reports() {
        let shares = report.clients_by_broker();
        // They take turns, and 64 connect at once.
        assert!(shares.values().all(|clients| (80..=87).contains(clients)), "{shares:?}");
    }
    let flows = stage.balancer.json("flows --limit 1000").unwrap();
    assert_eq!(flows["count"], 500);
    let ids: std::collections::BTreeSet<&str> = flows["flows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["client_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 500);
    busy.assert_undisturbed();
    let _ = (Family::ALL, GRACE);
}
