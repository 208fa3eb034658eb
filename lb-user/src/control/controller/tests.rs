use std::{fs, sync::atomic::Ordering};

use lb_common::{
    addr::Addr,
    backend::backend_flags::{ACCEPT, DIRECT, FORWARD, PRESENT},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
};

use super::{
    stage::{Shared, TICK, fresh, start, text, write},
    *,
};
use crate::{
    config::model::{Backend, Weight},
    control::{
        report::{BackendState, FlowFilter, ServiceState},
        samples::{self, UNCHECKED},
    },
};

fn states(controller: &Controller) -> Vec<(String, BackendState)> {
    let reports = controller.service_reports().unwrap();
    reports[0].backends.iter().map(|b| (b.name.to_string(), b.state)).collect()
}

fn state(controller: &Controller) -> ServiceState {
    controller.service_reports().unwrap()[0].state
}

fn id(controller: &Controller, name: &str) -> u32 {
    let reports = controller.service_reports().unwrap();
    reports[0].backends.iter().find(|b| b.name == *name).unwrap().id
}

fn fail_after(tables: &Shared, edits: usize) {
    let mut tables = tables.lock().unwrap();
    tables.failing = tables.edits + edits..tables.edits + edits + 1;
}

#[tokio::test]
async fn commands_outlive_the_controller_and_numbers_stay() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut first, tables) = fresh(dir.path());
    first.add_backend("mqtt", &samples::backend(4)).unwrap();
    first.remove_backend("mqtt", "b1").unwrap();
    first.drain("mqtt", "b2", true).unwrap();
    first.weigh("mqtt", "b3", Weight::new(7).unwrap()).unwrap();
    let (before, record) = (first.service_reports().unwrap(), first.applied.tables().clone());
    let rings = tables.lock().unwrap().rings.clone();
    drop(first);

    let second = start(dir.path(), &tables, Origin::TakenOver).unwrap();
    assert_eq!(second.service_reports().unwrap(), before);
    assert!(tables.lock().unwrap().rings == rings);
    assert_eq!(second.applied.tables().backends, record.backends);
    assert_eq!(second.applied.tables().peers, record.peers);
}

#[tokio::test]
async fn a_reload_makes_the_file_the_truth_but_for_the_drained() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    controller.remove_backend("mqtt", "b1").unwrap();
    controller.drain("mqtt", "b2", true).unwrap();
    write(dir.path(), &UNCHECKED.replace("b3, address", "b9, weight: 50, address"));

    let edits = tables.lock().unwrap().edits;
    let plan = controller.reload(true).unwrap();
    assert_eq!(tables.lock().unwrap().edits, edits, "only asked");
    let done = controller.reload(false).unwrap();
    assert_eq!(plan.differences, done.differences);
    let lines: Vec<_> = done.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "- services.mqtt.backends.b3: address 10.0.1.3, port 1883, weight 100",
            "+ services.mqtt.backends.b1: address 10.0.1.1, port 1883, weight 100",
            "+ services.mqtt.backends.b9: address 10.0.1.3, port 1883, weight 50",
        ]
    );
    assert_eq!(done.notes, ["mqtt/b2 stays drained"]);
    assert_eq!(states(&controller)[1], ("b2".into(), BackendState::Drained));
    assert!(controller.reload(false).unwrap().differences.is_empty());
}

#[tokio::test]
async fn a_reload_with_a_mistake_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    let edits = tables.lock().unwrap().edits;
    write(dir.path(), &UNCHECKED.replace("b3", "b2"));
    assert!(matches!(controller.reload(false), Err(ChangeError::Config(_))));
    write(dir.path(), &format!("{UNCHECKED}\nlimits: {{ backends: 10 }}\n"));
    let Err(ChangeError::NeedsRestart(paths)) = controller.reload(false) else { panic!() };
    assert_eq!(paths, ["limits.backends"]);
    let ports = text(dir.path(), UNCHECKED).replace("15999", "16999");
    fs::write(dir.path().join("mqlb.yaml"), ports).unwrap();
    assert!(matches!(controller.reload(false), Err(ChangeError::Layout(_))));
    assert_eq!(tables.lock().unwrap().edits, edits);
}

#[tokio::test]
async fn a_command_that_fails_in_the_tables_is_undone_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    let (before, rings) = (states(&controller), tables.lock().unwrap().rings.clone());
    fail_after(&tables, 2);
    let error = controller.add_backend("mqtt", &samples::backend(4)).unwrap_err();
    assert_eq!(error.hint(), "everything is as it was before");
    assert_eq!(states(&controller), before);
    assert!(tables.lock().unwrap().rings == rings);
    drop(controller);
    let second = start(dir.path(), &tables, Origin::TakenOver).unwrap();
    assert_eq!(states(&second), before);
}

#[tokio::test]
async fn a_change_that_was_cut_short_is_completed_by_the_next_controller() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    let numbers = controller.applied.tables().backends.clone();
    {
        // As if killed: neither the rest of the change nor its undoing happens.
        let mut tables = tables.lock().unwrap();
        tables.failing = tables.edits + 2..tables.edits + 100;
    }
    assert!(controller.add_backend("mqtt", &samples::backend(4)).is_err());
    drop(controller);
    tables.lock().unwrap().failing = 0..0;
    let second = start(dir.path(), &tables, Origin::TakenOver).unwrap();
    assert_eq!(states(&second)[3], ("b4".into(), BackendState::Active));
    let now = &second.applied.tables().backends;
    assert!(numbers.iter().all(|(id, backend)| now.get(id) == Some(backend)));
    let held = tables.lock().unwrap().backends.clone();
    assert_eq!(&held, now, "nothing else is left in the tables");
}

#[tokio::test]
async fn a_removed_backend_loses_its_flows_and_a_drained_one_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    for (name, port) in [("b1", 1000u16), ("b2", 2000)] {
        let key = FlowKey::new(Addr::v4([198, 51, 100, 1]), port.to_be_bytes(), 0);
        let word = id(&controller, name) << 8;
        let nat_port = 15_000u16.to_be_bytes();
        let flow = Flow { word, nat_port, source: 0, last_seen: 990, idle_ticks: 100 };
        tables.lock().unwrap().flows.insert(key, flow);
    }
    controller.tick();
    controller.remove_backend("mqtt", "b1").unwrap();
    controller.drain("mqtt", "b2", true).unwrap();
    let flows = controller.flows(&FlowFilter::default()).unwrap();
    assert_eq!(flows.count, 1);
    assert_eq!(flows.by_backend["mqtt/b2"], 1);
    assert_eq!(flows.flows[0].source, Some("10.0.0.2:15000".parse().unwrap()));
    assert_eq!(states(&controller)[0], ("b2".into(), BackendState::Draining));
    let flags: Vec<u16> = controller.applied.tables().backends.values().map(|b| b.flags).collect();
    assert_eq!(flags, [PRESENT | FORWARD, PRESENT | FORWARD | ACCEPT]);

    let vip = "192.0.2.10:1883".parse().unwrap();
    let tracked = controller.explain("198.51.100.1:2000".parse().unwrap(), vip).unwrap();
    assert_eq!(tracked.backend.as_deref(), Some("mqtt/b2"));
    assert_eq!(tracked.slot_backend.as_deref(), Some("mqtt/b3"));
    let new = controller.explain("198.51.100.1:1000".parse().unwrap(), vip).unwrap();
    assert_eq!(new.backend.as_deref(), Some("mqtt/b3"));
    let other = "192.0.2.10:1884".parse().unwrap();
    assert_eq!(controller.explain("198.51.100.1:1000".parse().unwrap(), other).unwrap().slot, None);
}

#[tokio::test]
async fn open_connections_are_right_although_the_counters_are_not() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    let backend = id(&controller, "b1");
    let flow = |port: u16| {
        let word = backend << 8;
        let flow = Flow { word, nat_port: [0; 2], source: 0, last_seen: 0, idle_ticks: 9 };
        (FlowKey::new(Addr::v4([198, 51, 100, 1]), port.to_be_bytes(), 0), flow)
    };
    // Ten were opened, five of them expired without a FIN: the counters would say ten.
    tables.lock().unwrap().flows.extend((0..5).map(flow));
    let counters = BackendCounters { opened: 10, ..BackendCounters::default() };
    tables.lock().unwrap().counters.insert(backend, counters);
    controller.tick();
    let open =
        |controller: &Controller| controller.service_reports().unwrap()[0].backends[0].traffic.open;
    assert_eq!(open(&controller), 5);
    let counters = BackendCounters { opened: 12, closed: 1, ..counters };
    tables.lock().unwrap().counters.insert(backend, counters);
    assert_eq!(open(&controller), 6);
}

const CHECKED: &str = "
  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    health: { type: tcp, interval: 1h, timeout: 1s }
    backends:
      - { name: b1, address: 10.0.1.1, port: 1883 }
      - { name: b2, address: 10.0.1.2, port: 1883 }
";

fn event(controller: &Controller, name: &str, up: bool) -> HealthEvent {
    HealthEvent { backend: id(controller, name), up, reason: "test".into() }
}

#[tokio::test]
async fn nobody_gets_connections_before_its_first_check() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), CHECKED);
    let (mut controller, tables) = fresh(dir.path());
    assert_eq!(state(&controller), ServiceState::Refusing);
    let events = [event(&controller, "b1", true), event(&controller, "b2", false)];
    controller.note_health(&events);
    assert_eq!(state(&controller), ServiceState::Degraded);
    controller.note_health(&[event(&controller, "b1", false)]);
    assert_eq!(state(&controller), ServiceState::LastKnownGood);

    // A restart does not forget that b1 was up last.
    drop(controller);
    let controller = start(dir.path(), &tables, Origin::TakenOver).unwrap();
    assert_eq!(state(&controller), ServiceState::LastKnownGood);
}

#[tokio::test]
async fn a_ring_that_could_not_be_swapped_is_swapped_later() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), CHECKED);
    let (mut controller, tables) = fresh(dir.path());
    fail_after(&tables, 0);
    controller.note_health(&[event(&controller, "b1", true)]);
    assert_eq!(state(&controller), ServiceState::Refusing);
    controller.tick();
    assert_eq!(state(&controller), ServiceState::Degraded);
}

#[tokio::test]
async fn tables_without_a_record_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let error = start(dir.path(), &Shared::default(), Origin::TakenOver).unwrap_err();
    assert!(matches!(error, ChangeError::NoRecord(_)));
    assert!(error.hint().contains("mqlb detach"));
}

#[tokio::test]
async fn after_a_reboot_the_changes_are_there_and_the_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, _) = fresh(dir.path());
    controller.drain("mqtt", "b2", true).unwrap();
    let last = id(&controller, "b3");
    drop(controller);
    let (controller, _) = fresh(dir.path());
    assert_eq!(states(&controller)[1], ("b2".into(), BackendState::Drained));
    assert!(id(&controller, "b1") > last);
}

#[tokio::test]
async fn a_backend_that_is_down_for_too_long_gives_up_its_connections() {
    let dir = tempfile::tempdir().unwrap();
    let service = CHECKED.replace("health:", "dead_after: 100s\n    health:");
    write(dir.path(), &service);
    let (mut controller, tables) = fresh(dir.path());
    let events = ["b1", "b2"].map(|name| event(&controller, name, true));
    controller.note_health(&events);
    let old = id(&controller, "b1");
    let flow =
        Flow { word: old << 8, nat_port: [0; 2], source: 0, last_seen: 0, idle_ticks: u32::MAX };
    let key = FlowKey::new(Addr::v4([198, 51, 100, 1]), [1, 2], 0);
    tables.lock().unwrap().flows.insert(key, flow);
    controller.note_health(&[event(&controller, "b1", false)]);
    controller.tick();
    assert_eq!(id(&controller, "b1"), old, "it may come back");

    TICK.fetch_add(200, Ordering::Relaxed);
    controller.tick();
    let new = id(&controller, "b1");
    assert_ne!(new, old);
    assert!(tables.lock().unwrap().flows.is_empty());
    controller.tick();
    assert_eq!(id(&controller, "b1"), new, "only once");
    controller.note_health(&[event(&controller, "b1", true)]);
    assert_eq!(state(&controller), ServiceState::Ok);
}

#[tokio::test]
async fn while_all_backends_are_down_none_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &CHECKED.replace("health:", "dead_after: 100s\n    health:"));
    let (mut controller, _) = fresh(dir.path());
    let numbers = ["b1", "b2"].map(|name| id(&controller, name));
    for up in [true, false] {
        let events = ["b1", "b2"].map(|name| event(&controller, name, up));
        controller.note_health(&events);
    }
    TICK.fetch_add(200, Ordering::Relaxed);
    controller.tick();
    assert_eq!(["b1", "b2"].map(|name| id(&controller, name)), numbers);
}

#[tokio::test]
async fn another_way_of_forwarding_makes_it_another_service() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), UNCHECKED);
    let (mut controller, tables) = fresh(dir.path());
    let nat = id(&controller, "b1");
    write(
        dir.path(),
        &UNCHECKED.replace("port: 1883\n    health", "port: 1883\n    mode: dsr\n    health"),
    );
    controller.reload(false).unwrap();
    assert_ne!(id(&controller, "b1"), nat);
    let tables = tables.lock().unwrap();
    assert!(tables.backends.values().all(|backend| backend.flags & DIRECT != 0));
    assert_eq!((tables.by_id.len(), tables.services.len()), (1, 1));
}

#[tokio::test]
async fn a_broker_at_a_port_that_is_not_rewritten_cannot_be_added() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &UNCHECKED.replace("health:", "mode: dsr\n    health:"));
    let (mut controller, _) = fresh(dir.path());
    let elsewhere = Backend { port: 1884, ..samples::backend(9) };
    let error = controller.add_backend("mqtt", &elsewhere).unwrap_err();
    assert!(error.to_string().contains("1884 is not 1883"), "{error}");
    controller.add_backend("mqtt", &samples::backend(9)).unwrap();
}

#[tokio::test]
async fn the_seed_of_flows_that_nobody_tracks_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let seeded = |seed: &str| {
        let service = UNCHECKED.replace("health:", "mode: dsr\n    health:");
        let text =
            text(dir.path(), &service).replace("services:", &format!("seed: {seed}\nservices:"));
        fs::write(dir.path().join("mqlb.yaml"), text).unwrap();
    };
    seeded("000102030405060708090a0b0c0d0e0f");
    let (mut controller, _) = fresh(dir.path());
    seeded("100102030405060708090a0b0c0d0e0f");
    let error = controller.reload(false).unwrap_err();
    assert!(error.to_string().contains("seed cannot change"), "{error}");
}
