//! What limits new connections, as the controller keeps it.

use std::{cell::Cell, path::Path};

use lb_common::{
    admission::{Admission, ListKey, Listed, admission_flags::LISTED},
    backend::backend_flags::LIMITED,
    load::LoadLimits,
    rate::Rate,
    service::service_flags::ADMITS,
};

use super::{
    stage::{self, Shared, start_with_clock},
    *,
};

thread_local! {
    /// The clock of this thread's test.
    static TICK: Cell<u32> = const { Cell::new(1000) };
}

fn write(dir: &Path, service: &str) {
    let service = format!(
        "  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    {service}
    backends: [{{ name: b1, address: 10.0.1.1 }}, {{ name: b2, address: 10.0.1.2 }}]
"
    );
    stage::write(dir, &service);
}

fn start(dir: &Path, tables: &Shared, origin: Origin) -> Controller {
    start_with_clock(dir, tables, origin, || TICK.get()).unwrap()
}

fn note(controller: &mut Controller, name: &str, up: bool) {
    let backend = controller.backend("mqtt", name).unwrap().id;
    controller.note_health(&[HealthEvent { backend, up, reason: "test".into() }]);
}

/// The rate that the packets of `name` see.
fn rate(controller: &Controller, tables: &Shared, name: &str) -> Rate {
    let id = controller.backend("mqtt", name).unwrap().id;
    tables.lock().unwrap().load_limits[&id].new
}

const SLOW: &str = "health: { type: tcp, interval: 1h }
    max_new_per_second: 1000
    slow_start: 100s";

#[tokio::test]
async fn a_backend_that_comes_up_again_gets_its_rate_step_by_step() {
    let (dir, tables) = (tempfile::tempdir().unwrap(), Shared::default());
    write(dir.path(), SLOW);
    let mut controller = start(dir.path(), &tables, Origin::Fresh);
    note(&mut controller, "b1", true);
    note(&mut controller, "b2", true);
    let full = Rate::new(1000, 100);
    assert_eq!(rate(&controller, &tables, "b1"), full, "it was up when the balancer began");

    note(&mut controller, "b1", false);
    TICK.set(1100);
    note(&mut controller, "b1", true);
    assert_eq!(rate(&controller, &tables, "b1"), Rate::new(100, 10));
    assert_eq!(rate(&controller, &tables, "b2"), full);
    let limits = controller.backend("mqtt", "b1").unwrap().limits;
    assert_eq!((limits.new_per_second, limits.new_per_second_now), (Some(1000), Some(100)));

    // 100 s are 94 ticks.
    TICK.set(1100 + 47);
    controller.tick();
    assert_eq!(rate(&controller, &tables, "b1"), Rate::new(550, 55));
    drop(controller);
    let mut controller = start(dir.path(), &tables, Origin::TakenOver);
    assert_eq!(rate(&controller, &tables, "b1"), Rate::new(550, 55), "it goes on where it was");
    assert_eq!(rate(&controller, &tables, "b2"), full);

    TICK.set(1100 + 94);
    controller.tick();
    assert_eq!(rate(&controller, &tables, "b1"), full);
    let edits = tables.lock().unwrap().edits;
    TICK.set(1100 + 95);
    controller.tick();
    assert_eq!(tables.lock().unwrap().edits, edits, "then there is nothing more to do");
}

#[tokio::test]
async fn limits_come_and_go_with_a_reload() {
    let (dir, tables) = (tempfile::tempdir().unwrap(), Shared::default());
    write(dir.path(), "max_connections: 10");
    let mut controller = start(dir.path(), &tables, Origin::Fresh);
    let flags = |tables: &Shared| {
        let tables = tables.lock().unwrap();
        tables.backends.values().map(|backend| backend.flags & LIMITED).collect::<Vec<_>>()
    };
    assert_eq!(flags(&tables), [LIMITED; 2]);
    let limits = LoadLimits { new: Rate::UNLIMITED, connections: 10 };
    assert!(tables.lock().unwrap().load_limits.values().all(|known| *known == limits));
    write(dir.path(), "");
    let lines = controller.reload(false).unwrap().differences;
    assert_eq!(lines[0].to_string(), "- services.mqtt.max_connections: 10");
    assert_eq!(flags(&tables), [0; 2]);
}

#[tokio::test]
async fn lists_change_with_a_reload_and_nothing_else_does() {
    let (dir, tables) = (tempfile::tempdir().unwrap(), Shared::default());
    write(dir.path(), "sources: { deny: [203.0.113.0/24, 198.51.100.7] }");
    let mut controller = start(dir.path(), &tables, Origin::Fresh);
    let admission = Admission { flags: LISTED, ..Admission::default() };
    assert!(tables.lock().unwrap().admissions.values().all(|known| *known == admission));
    write(dir.path(), "sources: { deny: [203.0.113.0/24], allow: [203.0.113.9] }");
    let before = tables.lock().unwrap().edits;
    let lines = controller.reload(false).unwrap().differences;
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ services.mqtt.sources.deny: 203.0.113.0/24, 198.51.100.7/32 -> 203.0.113.0/24",
            "+ services.mqtt.sources.allow: 203.0.113.9/32",
        ]
    );
    assert_eq!(tables.lock().unwrap().edits - before, 2);

    // What the next controller finds, it takes over, and removes what is not wanted any more.
    drop(controller);
    write(dir.path(), "sources: { deny: [203.0.113.0/24] }");
    start(dir.path(), &tables, Origin::TakenOver);
    let memory = tables.lock().unwrap();
    let id = memory.services.values().next().unwrap().id;
    let network = lb_common::addr::Addr::v4([203, 0, 113, 0]);
    let only = (ListKey::new(id, network, 120), Listed::new(120, true));
    assert_eq!(memory.lists.iter().map(|(k, l)| (*k, *l)).collect::<Vec<_>>(), [only]);
    assert!(memory.services.values().all(|service| service.flags & ADMITS != 0));
}

#[tokio::test]
async fn what_a_new_connection_would_meet_is_explained() {
    let (dir, tables) = (tempfile::tempdir().unwrap(), Shared::default());
    write(
        dir.path(),
        "sources: { deny: [203.0.113.0/24], allow: [203.0.113.9] }
    syn_rates: { source: { rate: 5, burst: 20 }, prefix: { bits: 16, rate: 50 } }
    max_new_per_second: 7
    max_connections: 1
    health: { type: none }",
    );
    let controller = start(dir.path(), &tables, Origin::Fresh);
    let explain = |client: &str| {
        let vip = "192.0.2.10:1883".parse().unwrap();
        controller.explain(client.parse().unwrap(), vip).unwrap()
    };
    let denied = explain("203.0.113.8:5000");
    assert_eq!(denied.backend, None);
    let why = denied.why.join("\n");
    assert!(why.contains("203.0.113.0/24 is denied: a SYN is dropped"), "{why}");
    let allowed = explain("203.0.113.9:5000");
    assert!(allowed.backend.is_some());
    let why = allowed.why.join("\n");
    for line in [
        "203.0.113.9/32 is allowed",
        "203.0.113.9 may send 5 SYNs per second, 20 at once; more are dropped",
        "203.0.0.0/16 together may send 50 SYNs per second, 50 at once; more are dropped",
        "it is given 7 new connections per second; more are dropped",
        "it has 0 connections of 1 that it may have",
    ] {
        assert!(why.contains(line), "{line} in\n{why}");
    }
}
