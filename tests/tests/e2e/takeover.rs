//! The controller goes and comes back; the fast path does not.

use std::fs;

use lb_tests::exclusive;
use lb_tests::topology::Arms;

use super::{LIMIT, Stage};

#[test]
fn a_killed_controller_leaves_forwarding_and_takes_over_what_it_finds() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    stage.backend("drain", "broker-3", |_| String::new());
    let busy = stage.busy();
    let before = busy.reports().map(|report| report.clients_by_broker());
    stage.balancer.kill();
    busy.exchange();
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"], "nobody controls");
    stage.balancer.run().unwrap();
    busy.exchange();
    // A change made by command before is kept, and the table of connections is the old one.
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
    assert_eq!(busy.reports().map(|report| report.clients_by_broker()), before);
    stage.backend("undrain", "broker-3", |_| String::new());
    stage.balancer.wait_active(LIMIT).unwrap();
    assert!(stage.reached_by_new_clients().contains(&"broker-3".to_owned()));
    busy.assert_undisturbed();
}

#[test]
fn a_controller_told_to_end_leaves_forwarding() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::One, 3);
    let busy = stage.busy();
    stage.balancer.stop().unwrap();
    busy.exchange();
    assert_eq!(stage.reached_by_new_clients().len(), 3);
    stage.balancer.run().unwrap();
    busy.assert_undisturbed();
}

#[test]
fn another_build_replaces_the_program_under_live_connections() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    let busy = stage.busy();
    let newer = stage.topology.scratch().join("mqlb-newer");
    fs::copy(lb_tests::balancer::program().unwrap(), &newer).unwrap();
    let before = stage.programs();
    stage.balancer.stop().unwrap();
    stage.balancer.set_program(newer);
    stage.balancer.run().unwrap();
    busy.exchange();
    let after = stage.programs();
    assert_eq!(after.len(), 2);
    assert!(!after.iter().any(|program| before.contains(program)), "{before:?}, now {after:?}");
    assert_eq!(stage.reached_by_new_clients().len(), 3);
    busy.assert_undisturbed();
}
