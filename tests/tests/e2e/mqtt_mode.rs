//! Services in the mode `mqtt`: accepted in userspace, led on by their CONNECT.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use lb_tests::balancer::{self, Balancer};
use lb_tests::broker::Broker;
use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Reason};
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};

use super::{GRACE, LIMIT, Stage, wait_named};

/// Both services in the mode `mqtt`, with these settings.
fn in_userspace(config: &mut Value, settings: &Value) {
    for service in config["services"].as_array_mut().unwrap() {
        service["mode"] = json!("mqtt");
        service["mqtt"] = settings.clone();
    }
}

fn stage(brokers: usize, settings: &Value) -> Stage {
    Stage::with_config(Arms::Two, brokers, |config| in_userspace(config, settings))
}

/// Resident memory of the balancer, in bytes.
fn resident(stage: &Stage) -> u64 {
    let pid = stage.balancer.process().unwrap().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn clients_of_either_family_reach_every_broker_and_lose_nothing() {
    let _exclusive = exclusive();
    let stage = stage(3, &json!({}));
    let busy = stage.busy();
    for report in busy.reports() {
        let shares = report.clients_by_broker();
        // They take turns.
        assert!(shares.values().all(|clients| (80..=87).contains(clients)), "{shares:?}");
    }
    let flows = stage.balancer.json("flows --limit 1000").unwrap();
    assert_eq!(flows["count"], 500);
    let of_flow = |flow: &Value| flow["client_id"].as_str().unwrap().to_owned();
    let ids: BTreeSet<String> = flows["flows"].as_array().unwrap().iter().map(of_flow).collect();
    assert_eq!(ids.len(), 500);
    let (client, vip) =
        (flows["flows"][0]["client"].as_str().unwrap(), stage.topology.vip(Family::V4));
    if client.starts_with("10.") {
        let why = stage.balancer.run_ctl(&format!("explain {client} {vip}")).unwrap();
        assert!(why.contains(&of_flow(&flows["flows"][0])), "{why}");
    }
    // The data plane knows nothing of them.
    let status = stage.balancer.json("status").unwrap();
    assert_eq!(
        (&status["tables"]["flows"], &status["verdicts"]["to_backend"]),
        (&json!(0), &json!(0))
    );
    busy.assert_undisturbed();
}

#[test]
fn a_drained_backend_keeps_its_connections_and_a_removed_one_ends_them() {
    let _exclusive = exclusive();
    let stage = stage(3, &json!({}));
    let busy = stage.busy();
    stage.backend("drain", "broker-1", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3"]);
    let victims = busy.reports().map(|report| report.clients_by_broker()["broker-1"]);
    assert!(victims.iter().all(|clients| *clients > 0), "{victims:?}");
    let left = stage.balancer.json("backend list").unwrap();
    assert_eq!(left[0]["traffic"]["open"].as_u64(), Some(victims[0] as u64), "{left}");
    let waited =
        stage.balancer.ctl(["backend", "drain", "mqtt-v4/broker-1", "--wait", "--timeout", "2s"]);
    assert_eq!(waited.unwrap().status.code(), Some(1), "they stay");
    stage.backend("remove", "broker-1", |_| String::new());
    let deadline = Instant::now() + LIMIT;
    while busy.reports().map(|report| report.disconnects.len()) != victims {
        assert!(Instant::now() < deadline, "{victims:?} should have been disconnected");
        std::thread::sleep(Duration::from_millis(50));
    }
    for fleet in busy.0 {
        let report = fleet.stop(GRACE).unwrap();
        report.assert_only_disturbed("broker-1");
        let good = |reason: &Reason| matches!(reason, Reason::Closed | Reason::Tcp(_));
        assert!(report.disconnects.iter().all(|disconnect| good(&disconnect.reason)));
    }
}

#[test]
fn waiting_for_a_drained_backend_ends_with_its_last_connection() {
    let _exclusive = exclusive();
    let stage = stage(2, &json!({}));
    let fleet = stage.connect(Family::V4, 20);
    stage.backend("drain", "broker-1", |_| String::new());
    fleet.stop(GRACE).unwrap().assert_undisturbed();
    let waited = stage.balancer.run_ctl("backend drain mqtt-v4/broker-1 --wait --timeout 20s");
    assert!(waited.unwrap().contains("drained"));
}

#[test]
fn a_broker_that_dies_takes_only_its_own_clients_and_nobody_is_refused() {
    let _exclusive = exclusive();
    let mut stage = stage(3, &json!({}));
    let busy = stage.busy();
    drop(stage.brokers.remove(0));
    // Before a health check has noticed: whoever is led there is led on.
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3"]);
    for fleet in busy.0 {
        fleet.stop(GRACE).unwrap().assert_only_disturbed("broker-1");
    }
}

#[test]
fn a_reload_that_changes_the_service_disturbs_nobody() {
    let _exclusive = exclusive();
    let mut stage = stage(2, &json!({}));
    let busy = stage.busy();
    let index = stage.start_broker();
    let mut config = balancer::config(&stage.topology);
    in_userspace(&mut config, &json!({ "policy": "least_connections", "max_waiting": 100 }));
    stage.balancer.write_config(&config).unwrap();
    stage.balancer.run_ctl("reload").unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    // The new one has none.
    let name = stage.brokers[index].name().to_owned();
    assert_eq!(stage.reached_by_new_clients(), [name]);
    busy.assert_undisturbed();
}

#[test]
fn a_service_can_change_between_the_fast_path_and_userspace() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 2);
    let forwarded = balancer::config(&stage.topology);
    let mut proxied = forwarded.clone();
    in_userspace(&mut proxied, &json!({}));
    for config in [&proxied, &forwarded, &proxied] {
        stage.balancer.write_config(config).unwrap();
        stage.balancer.run_ctl("reload").unwrap();
        stage.balancer.wait_active(LIMIT).unwrap();
        let fleet = stage.connect(Family::V6, 20);
        wait_named(&fleet);
        let flows = stage.balancer.json("flows --service mqtt-v6").unwrap();
        let said = flows["flows"][0].get("client_id").is_some();
        assert_eq!((&flows["count"], said), (&json!(20), config == &proxied));
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
}

#[test]
fn at_its_end_the_balancer_closes_connections_in_order() {
    let _exclusive = exclusive();
    let mut stage = Stage::with_config(Arms::Two, 2, |config| {
        let log = config["state_dir"].as_str().unwrap().to_owned() + ".connections";
        in_userspace(config, &json!({ "connection_log": log }));
    });
    let fleet = stage.connect(Family::V4, 50);
    let began = Instant::now();
    stage.balancer.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let deadline = Instant::now() + LIMIT;
    while fleet.report().disconnects.len() < 50 {
        assert!(Instant::now() < deadline, "{:?}", fleet.report().disconnects);
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = fleet.stop(Duration::ZERO).unwrap();
    assert!(report.disconnects.iter().all(|one| one.reason == Reason::Closed), "{report:?}");
    let directory = balancer::config(&stage.topology)["state_dir"].as_str().unwrap().to_owned();
    let log = fs::read_to_string(directory + ".connections").unwrap();
    let ends = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["end"].clone());
    assert_eq!(ends.filter(|end| end == "shutdown").count(), 50);
}

#[test]
fn five_thousand_clients_without_a_connect_take_little_memory_and_no_valid_client_notices() {
    const IDLE: usize = 5000;
    let _exclusive = exclusive();
    let settings = json!({ "connect_within": "60s", "max_waiting": IDLE - 500 });
    let stage = stage(2, &settings);
    stage.connect(Family::V4, 50).stop(GRACE).unwrap();
    let vip = stage.topology.vip(Family::V4);
    let before = resident(&stage);
    let idle: Vec<TcpStream> = stage
        .topology
        .clients()
        .run(|| (0..IDLE).map(|_| TcpStream::connect(vip).unwrap()).collect())
        .unwrap();
    // As many wait before the last of them have been accepted.
    let all_came = |status: &Value| {
        let proxy = &status["services"][0]["proxy"];
        proxy["waiting"] == IDLE - 500 && proxy["refusals"]["crowded_out"] == 500
    };
    stage.balancer.wait_status(LIMIT, all_came).unwrap();
    let each = resident(&stage).saturating_sub(before) / IDLE as u64;
    // Unoptimised futures are larger; what counts is that nothing of the size of a buffer is among it.
    assert!(each < 8192, "{each} bytes each");
    // The oldest had to go.
    let mut oldest = &idle[0];
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0);
    let fleet = stage.connect(Family::V4, 200);
    wait_named(&fleet);
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}

#[test]
fn an_idle_connection_takes_less_memory_than_a_buffer() {
    const IDLE: u32 = 2000;
    let _exclusive = exclusive();
    let stage = stage(2, &json!({}));
    stage.connect(Family::V4, 50).stop(GRACE).unwrap();
    let before = resident(&stage);
    let fleet = stage.connect(Family::V4, IDLE);
    let each = resident(&stage).saturating_sub(before) / u64::from(IDLE);
    assert!(each < 8192, "{each} bytes each");
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}

#[test]
fn without_interfaces_it_serves_and_attaches_nothing() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::Two, 2).unwrap();
    let _brokers = Broker::start_all(&topology).unwrap();
    let mut config = balancer::config(&topology);
    in_userspace(&mut config, &json!({}));
    config.as_object_mut().unwrap().remove("interfaces");
    config.as_object_mut().unwrap().remove("nat");
    let balancer = Balancer::start(&topology, &config).unwrap();
    balancer.wait_active(LIMIT).unwrap();
    let plan = Plan::new(topology.vip(Family::V4), 20);
    let fleet = Fleet::start(topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    wait_named(&fleet);
    let links = Command::new("ip")
        .args(["-details", "-n", topology.balancer().name(), "link", "show"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("prog/xdp"));
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}

#[test]
fn sticky_sessions_survive_a_restart_and_can_be_listed_and_forgotten() {
    let _exclusive = exclusive();
    let mut stage = stage(3, &json!({ "sticky": {} }));
    let plan = Plan { clean: false, prefix: "sticky".into(), ..stage.plan(Family::V4, 30) };
    let homes = |stage: &Stage| {
        let fleet = Fleet::start(stage.topology.clients(), plan.clone()).unwrap();
        fleet.wait_connected(LIMIT).unwrap();
        let flows = stage.balancer.json("flows --service mqtt-v4").unwrap();
        let home = |flow: &Value| {
            ["client_id", "backend"].map(|key| flow[key].as_str().unwrap().to_owned())
        };
        let homes: BTreeSet<_> = flows["flows"].as_array().unwrap().iter().map(home).collect();
        assert_eq!(homes.len(), 30);
        fleet.stop(GRACE).unwrap().assert_undisturbed();
        homes
    };
    let before = homes(&stage);
    stage.balancer.stop().unwrap();
    stage.balancer.run().unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    // So that the turns alone would not lead them there.
    stage.connect(Family::V4, 1).stop(GRACE).unwrap();
    assert_eq!(homes(&stage), before);
    let listed = stage.balancer.json("service sessions mqtt-v4 --backend broker-2").unwrap();
    assert_eq!(
        (&listed["remembered"], listed["sessions"].as_array().unwrap().len()),
        (&json!(30), 10)
    );
    let said =
        stage.balancer.run_ctl("service sessions mqtt-v4 --clear --backend broker-2").unwrap();
    assert_eq!(said, "sessions forgotten: 10\n");
}
