use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use lb_common::{
    addr::Addr,
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    verdict::{COUNT, Verdict},
};

use super::*;
use crate::{
    config::model::Policy,
    control::{
        controller::{Controller, Origin, Start},
        memory::Memory,
        report::{BackendState, HealthState, LoadReport, ProxyReport, SlotsReport},
    },
    health::checker::Checker,
};

const FILE: &str = "
interfaces: [{ name: eth0 }]
nat: { addresses: [10.0.0.2, 10.0.0.3], ports: 15000-15999 }
seed: 000102030405060708090a0b0c0d0e0f
state_dir: STATE
services:
  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    health: { type: none }
    backends:
      - { name: b1, address: 10.0.1.1, port: 1883, weight: 300 }
      - { name: b2, address: 10.0.1.2, port: 1883 }
";

/// A controller over tables in memory, and the place of its configuration file.
struct Rig {
    controller: Controller,
    tables: Arc<Mutex<Memory>>,
    dir: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mqlb.yaml");
        let state = dir.path().join("state").display().to_string();
        std::fs::write(&file, FILE.replace("STATE", &state)).unwrap();
        let tables = Arc::<Mutex<Memory>>::default();
        let (events, _) = tokio::sync::mpsc::channel(10);
        let controller = Controller::start(Start {
            config: crate::config::load(&file).unwrap(),
            file,
            datapath: Box::new(Arc::clone(&tables)),
            origin: Origin::Fresh,
            checker: Arc::new(Checker::new(events)),
            proxies: Arc::default(),
            host: "lb".into(),
            clock: || 1000,
        });
        Self { controller: controller.unwrap(), tables, dir }
    }

    fn status(&self) -> Status {
        self.controller.status().unwrap()
    }

    fn text(&self) -> String {
        render(&self.status(), &Process::read())
    }
}

/// The samples of a text, by name and labels as they are written.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series, value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn what_a_backend_carries_is_told_under_its_names() {
    let rig = Rig::start();
    let id = rig.status().services[0].backends[1].id;
    let counters = BackendCounters {
        packets_to_backend: 10,
        bytes_to_backend: 1000,
        packets_to_client: 20,
        bytes_to_client: 2000,
        attempted: 7,
        opened: 6,
        closed: 4,
        refused: 3,
        connack_accepted: 5,
        ..BackendCounters::default()
    };
    rig.tables.lock().unwrap().counters.insert(id, counters);
    let text = rig.text();
    let samples = samples(&text);
    let b2 =
        |name: &str| samples[&*format!("mqlb_backend_{name}{{service=\"mqtt\",backend=\"b2\"}}")];
    assert_eq!(b2("connections").to_string(), "2");
    assert_eq!(b2("connection_attempts_total").to_string(), "7");
    assert_eq!(b2("connections_opened_total").to_string(), "6");
    assert_eq!(b2("connections_closed_total").to_string(), "4");
    assert!((b2("ring_ratio") - 0.25).abs() < 0.01, "{}", b2("ring_ratio"));
    for line in [
        "mqlb_backend_packets_total{service=\"mqtt\",backend=\"b2\",direction=\"to_backend\"} 10",
        "mqlb_backend_packets_total{service=\"mqtt\",backend=\"b2\",direction=\"to_client\"} 20",
        "mqlb_backend_bytes_total{service=\"mqtt\",backend=\"b2\",direction=\"to_backend\"} 1000",
        "mqlb_backend_bytes_total{service=\"mqtt\",backend=\"b2\",direction=\"to_client\"} 2000",
        "mqlb_backend_state{service=\"mqtt\",backend=\"b2\",state=\"active\"} 1",
        "mqlb_backend_state{service=\"mqtt\",backend=\"b2\",state=\"drained\"} 0",
        "mqlb_backend_info{service=\"mqtt\",backend=\"b2\",address=\"10.0.1.2\",port=\"1883\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn a_reload_that_fails_is_told_until_one_succeeds() {
    let mut rig = Rig::start();
    let successful = |rig: &Rig| samples(&rig.text())["mqlb_config_last_reload_successful"] > 0.0;
    assert!(successful(&rig));
    assert!(samples(&rig.text())["mqlb_config_last_reload_success_timestamp_seconds"] > 1.6e9);
    let file = rig.dir.path().join("mqlb.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "services: 7").unwrap();
    assert!(rig.controller.reload(true).is_err());
    assert!(successful(&rig), "a dry run is no reload");
    assert!(rig.controller.reload(false).is_err());
    assert!(!successful(&rig));
    std::fs::write(&file, good).unwrap();
    rig.controller.reload(false).unwrap();
    assert!(successful(&rig));
}

#[tokio::test]
async fn changes_that_fail_are_counted() {
    let mut rig = Rig::start();
    {
        let mut tables = rig.tables.lock().unwrap();
        tables.failing = tables.edits..tables.edits + 1;
    }
    assert!(rig.controller.drain("mqtt", "b1", true).is_err());
    let text = rig.text();
    let samples = samples(&text);
    assert_eq!(samples["mqlb_changes_total{result=\"success\"}"].to_string(), "1");
    assert_eq!(samples["mqlb_changes_total{result=\"failure\"}"].to_string(), "1");
    assert!(samples["mqlb_last_change_duration_seconds"] > 0.0);
}

#[tokio::test]
async fn source_ports_are_summed_over_the_addresses() {
    let mut rig = Rig::start();
    let backend = rig.status().services[0].backends[0].id;
    for source in [0_u8, 1, 1] {
        let mut tables = rig.tables.lock().unwrap();
        let port = [source, tables.flows.len() as u8];
        let key = FlowKey::new(Addr::v4([192, 0, 2, 99]), port, 0);
        let flow = Flow {
            word: backend << 8,
            nat_port: port,
            source: source.into(),
            last_seen: 1000,
            idle_ticks: 9,
        };
        tables.flows.insert(key, flow);
    }
    rig.controller.tick();
    let text = rig.text();
    let samples = samples(&text);
    assert_eq!(samples["mqlb_source_ports_limit{broker=\"10.0.1.1:1883\"}"].to_string(), "2000");
    assert_eq!(samples["mqlb_source_ports_in_use{broker=\"10.0.1.1:1883\"}"].to_string(), "3");
    assert_eq!(samples["mqlb_source_ports_in_use{broker=\"10.0.1.2:1883\"}"].to_string(), "0");
    assert_eq!(samples["mqlb_table_entries{table=\"flows\"}"].to_string(), "3");
}

#[tokio::test]
async fn each_verdict_is_counted_under_its_name_and_action() {
    let rig = Rig::start();
    rig.tables.lock().unwrap().verdicts = (0..COUNT as u64).map(|n| n * 10).collect();
    let text = rig.text();
    let samples = samples(&text);
    let counted = samples.keys().filter(|series| series.starts_with("mqlb_packets_total{"));
    assert_eq!(counted.count(), COUNT);
    let series = "mqlb_packets_total{verdict=\"ports_exhausted\",action=\"drop\"}";
    assert_eq!(samples[series].to_string(), (Verdict::PortsExhausted as u32 * 10).to_string());
}

/// A metric that nothing sets is worse than none. What a running controller cannot show without a
/// broker to check is filled in here; the end-to-end tests see it for real.
#[tokio::test]
async fn every_metric_can_be_other_than_zero() {
    let mut rig = Rig::start();
    rig.controller.drain("mqtt", "b1", true).unwrap();
    let mut status = rig.status();
    let tables = &mut status.tables;
    (tables.flows, tables.pending, tables.last_sweep_us) = (1, 2, 3);
    tables.brokers[0].ports_in_use = 4;
    status.verdicts.insert("to_backend".into(), 5);
    status.services[0].proxy = Some(ProxyReport {
        policy: Policy::RoundRobin,
        waiting: 1,
        refusals: [("denied".to_owned(), 2)].into(),
        log_lost: 3,
        certificates: [("/server.pem".to_owned(), 4)].into(),
    });
    status.services[0].slots = Some(SlotsReport { in_transition: 1, looked_up: 2, learning: 3 });
    let backend = &mut status.services[0].backends[0];
    backend.health = HealthState::Up;
    backend.state = BackendState::Draining;
    backend.health_changed_at_s = Some(6);
    backend.ejections = 2;
    backend.consecutive_failures = 7;
    backend.check_latency_us = Some(8);
    backend.checks = (9, 10);
    backend.load = Some(LoadReport {
        value: Some(0.5),
        read_s_ago: Some(1),
        reads: 2,
        failed_reads: 1,
        last_error: None,
    });
    backend.limits.connections = Some(11);
    backend.limits.new_per_second_now = Some(12);
    let traffic = &mut backend.traffic;
    (traffic.open, traffic.attempted, traffic.opened) = (1, 2, 3);
    (traffic.closed, traffic.connacks.accepted, traffic.paced) = (4, 5, 6);
    (traffic.packets_to_backend, traffic.bytes_to_backend) = (6, 7);
    let text = render(&status, &Process::read());
    let samples = samples(&text);
    for metric in all() {
        let name = |series: &str| series.split('{').next() == Some(metric.name);
        let set = samples.iter().any(|(series, value)| name(series) && *value != 0.0);
        // A test that has just begun may have used no whole tick of processor time.
        assert!(set || metric.name == "process_cpu_seconds_total", "{} is never set", metric.name);
    }
}

#[tokio::test]
async fn an_unchecked_backend_has_no_health() {
    let text = Rig::start().text();
    assert!(!samples(&text).keys().any(|series| series.starts_with("mqlb_backend_up")));
    assert!(text.contains("# TYPE mqlb_backend_up gauge\n"));
}
