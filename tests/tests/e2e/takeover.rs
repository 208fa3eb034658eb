//! The controller goes and comes back; the fast path does not.

use aya::maps::{Array, Map, MapData};
use lb_common::layout::VERSION;
use lb_tests::topology::Arms;
use lb_tests::{exclusive, other_build};

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
    other_build::write(&newer).unwrap();
    let before = stage.programs();
    stage.balancer.stop().unwrap();
    stage.balancer.set_program(newer);
    stage.balancer.run().unwrap();
    busy.exchange();
    let after = stage.programs();
    assert_eq!((before.len(), after.len()), (2, 2));
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before.id, after.id);
        assert_ne!(before.tag, after.tag, "the program is the same, loaded again");
    }
    assert_eq!(stage.reached_by_new_clients().len(), 3);
    busy.assert_undisturbed();
}

/// What is pinned pretends to have been made by a build with other tables.
fn pin_another_layout(stage: &Stage) {
    let pin = stage.topology.scratch().bpffs().join("mqlb/layout");
    let map = Map::Array(MapData::from_pin(pin).unwrap());
    let mut layout = Array::<_, u32>::try_from(map).unwrap();
    layout.set(0, 4711, 0).unwrap();
}

#[test]
fn a_pinned_layout_of_another_version_is_refused_goes_on_forwarding_and_can_be_taken_away() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    let busy = stage.busy();
    stage.balancer.stop().unwrap();
    pin_another_layout(&stage);
    let refusal = stage.balancer.run().unwrap_err().to_string();
    let pin_dir = stage.topology.scratch().bpffs().join("mqlb");
    for part in [
        format!("has layout 4711, this build needs layout {VERSION}"),
        "hint: start the build that made it".to_owned(),
        format!("`mqlb detach --pin-dir {}`", pin_dir.display()),
    ] {
        assert!(refusal.contains(&part), "no {part:?} in {refusal}");
    }
    busy.assert_undisturbed();
    // The way out that it names.
    stage.balancer.detach().unwrap();
    stage.balancer.run().unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    assert_eq!(stage.reached_by_new_clients().len(), 3);
}
