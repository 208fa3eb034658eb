use lb_common::addr::Addr;

use super::*;
use crate::control::controller::stage::{Shared, fresh, text, write};

const THREE: &str = crate::control::samples::UNCHECKED;

fn change(commands: Vec<RingCommand>) -> RingChange {
    RingChange { file: None, commands }
}

fn add(name: &str, address: &str) -> RingCommand {
    RingCommand::Add {
        service: "mqtt".into(),
        name: name.parse().unwrap(),
        address: address.parse().unwrap(),
        port: None,
        weight: None,
    }
}

fn remove(name: &str) -> RingCommand {
    RingCommand::Remove { service: "mqtt".into(), name: name.into() }
}

/// Opens `count` connections, each with the owner of its slot.
fn connect(controller: &Controller, tables: &Shared, count: u16) {
    let now = controller.applied.tables();
    let side = Side::of(now, now.services.values().next().unwrap());
    for number in 0..count {
        let client = Addr::v4([198, 51, 100, 7]);
        let key = FlowKey::new(client, number.to_be_bytes(), side.service.id);
        let flow = Flow::tracked(side.owner(&key), 0, 1000);
        tables.lock().unwrap().flows.insert(key, flow);
    }
}

#[tokio::test]
async fn a_backend_that_comes_takes_its_share_and_resets_nobody() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), THREE);
    let (controller, tables) = fresh(dir.path());
    connect(&controller, &tables, 1000);
    let before = tables.lock().unwrap().edits;
    let report = controller.ring_diff(&change(vec![add("b4", "10.0.1.4")])).unwrap();
    assert_eq!(tables.lock().unwrap().edits, before, "nothing was changed");
    let [moves] = &report.services[..] else { panic!("{report:?}") };
    let b4 = moves.backends.iter().find(|backend| backend.name == *"b4").unwrap();
    assert_eq!((b4.slots_before, b4.slots_after, b4.gains), (0, b4.gains, b4.gains));
    assert!(moves.moved >= b4.gains && moves.moved < moves.slots / 3, "{moves:?}");
    let ConnectionMoves { known, on_moved_slots, reset, complete } = moves.connections;
    assert_eq!((known, reset, complete), (1000, 0, true));
    let expected = u64::from(1000 * moves.moved / moves.slots);
    assert!(on_moved_slots.abs_diff(expected) < 60, "{on_moved_slots}, about {expected}");
    assert_eq!(moves.backends.iter().map(|backend| backend.connections).sum::<u64>(), 1000);
}

#[tokio::test]
async fn a_backend_that_goes_resets_its_connections() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), THREE);
    let (controller, tables) = fresh(dir.path());
    connect(&controller, &tables, 1000);
    let report = controller.ring_diff(&change(vec![remove("b1")])).unwrap();
    let moves = &report.services[0];
    let b1 = moves.backends.iter().find(|backend| backend.name == *"b1").unwrap();
    assert!(b1.removed && b1.slots_after == 0 && b1.loses == b1.slots_before);
    assert_eq!(moves.connections.reset, b1.connections);
    assert!(b1.connections > 200, "{b1:?}");
}

#[tokio::test]
async fn what_is_said_beforehand_is_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), THREE);
    let (mut controller, _) = fresh(dir.path());
    let weight = RingCommand::Weight {
        service: "mqtt".into(),
        name: "b2".into(),
        weight: Weight::new(300).unwrap(),
    };
    let asked = change(vec![weight]);
    let before = controller.applied.tables().clone();
    let said = controller.ring_diff(&asked).unwrap();
    controller.weigh("mqtt", "b2", Weight::new(300).unwrap()).unwrap();
    let ring = |tables: &Tables| tables.rings.values().next().unwrap().ring();
    let made = RingDiff::between(&ring(&before)[..], &ring(controller.applied.tables())[..]);
    assert_eq!(said.services[0].moved, made.moved());
    assert!(made.moved() > 0);
    assert_eq!(controller.ring_diff(&asked).unwrap().services, [], "it is made");
}

#[tokio::test]
async fn a_file_is_compared_with_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), THREE);
    let (mut controller, _) = fresh(dir.path());
    assert_eq!(controller.ring_diff(&RingChange::default()).unwrap().services, []);
    let two = THREE.replace("      - { name: b3, address: 10.0.1.3, port: 1883 }\n", "");
    let file = Some(text(dir.path(), &two));
    let report = controller.ring_diff(&RingChange { file, commands: vec![] }).unwrap();
    let gone: Vec<_> = report.services[0].backends.iter().filter(|b| b.removed).collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].name, *"b3");

    let other = text(dir.path(), &two).replace("eth0", "eth1");
    let report = controller.ring_diff(&RingChange { file: Some(other), commands: vec![] }).unwrap();
    let [refused] = &report.notes[..] else { panic!("{report:?}") };
    assert!(refused.starts_with("a reload would refuse this file: interfaces"), "{refused}");

    let error = controller.ring_diff(&change(vec![remove("b9")])).unwrap_err();
    assert_eq!(error.to_string(), "service mqtt has no backend b9");
    // A service of the file that runs, with a command on top, that the file does not know.
    controller.remove_backend("mqtt", "b1").unwrap();
    let report = controller.ring_diff(&RingChange::default()).unwrap();
    assert!(report.services[0].backends.iter().any(|b| b.name == *"b1" && b.slots_before == 0));
}

#[tokio::test]
async fn where_nobody_tracks_connections_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &THREE.replace("port: 1883\n    health", "port: 1883\n    mode: dsr\n    health"),
    );
    let (controller, _) = fresh(dir.path());
    let report = controller.ring_diff(&change(vec![add("b4", "10.0.1.4")])).unwrap();
    assert!(!report.services[0].connections.complete);
    assert!(report.services[0].moved > 0);
}
