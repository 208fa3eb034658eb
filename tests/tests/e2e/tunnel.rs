//! Brokers in tunnels: they unwrap, hold the VIPs and answer the clients themselves.

use std::process::{Command, Output};

use lb_tests::balancer::{self, backend};
use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::packet_log::wait_logged;
use super::{LIMIT, Stage, wait_named};

const SOURCES: [&str; 2] = ["10.99.0.0/16", "fd00:99::/64"];

/// The last broker is reached by IPv6 for clients of IPv4, and the other way round.
fn ipip(stage: &Stage, config: &mut Value) {
    let last = stage.brokers.len() - 1;
    config["tunnel"] = json!({ "sources": SOURCES });
    let services = config["services"].as_array_mut().unwrap();
    for (service, other) in services.iter_mut().zip([Family::V6, Family::V4]) {
        service["mode"] = json!("ipip");
        service["backends"][last] = backend(&stage.topology, last, other);
    }
}

/// Brokers that hold the VIPs and unwrap; nothing is wrapped yet.
fn stage(brokers: usize) -> Stage {
    let stage = Stage::with_config(Arms::One, brokers, |config| {
        for service in config["services"].as_array_mut().unwrap() {
            service["mode"] = json!("dsr");
        }
    });
    stage.topology.give_brokers_the_vips().unwrap();
    for index in 0..brokers {
        let output = attach(&stage, index, &SOURCES);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    stage
}

fn wrap(stage: &Stage) {
    let mut config = balancer::config(&stage.topology);
    ipip(stage, &mut config);
    stage.balancer.write_config(&config).unwrap();
    stage.balancer.run_ctl("reload").unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
}

/// `mqlb decap` on the host of a broker.
fn decap(stage: &Stage, index: usize, arguments: &[&str]) -> Output {
    let pins = stage.topology.scratch().bpffs().join(format!("decap-{index}"));
    let mut command = Command::new(balancer::program().unwrap());
    command.arg("--json").arg("decap").args(arguments).arg("--pin-dir").arg(pins);
    stage.topology.broker(index).run(|| command.output()).unwrap().unwrap()
}

fn attach(stage: &Stage, index: usize, from: &[&str]) -> Output {
    let vips = Family::ALL.map(|family| stage.topology.vip(family).ip().to_string());
    let mut arguments = vec!["attach", "--interface", "eth0"];
    arguments.extend(from.iter().flat_map(|prefix| ["--from", prefix]));
    arguments.extend(vips.iter().flat_map(|vip| ["--vip", vip]));
    decap(stage, index, &arguments)
}

fn packets(stage: &Stage, index: usize, verdict: &str) -> u64 {
    let output = decap(stage, index, &["status"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["interfaces"][0]["xdp"], json!("native"), "{status}");
    status["verdicts"][verdict].as_u64().unwrap()
}

#[test]
fn brokers_in_tunnels_see_the_clients_own_addresses() {
    let _exclusive = exclusive();
    let stage = stage(3);
    wrap(&stage);
    for family in Family::ALL {
        let before = [0, 1, 2].map(|index| packets(&stage, index, "unwrapped"));
        let fleet = stage.connect(family, 60);
        wait_named(&fleet);
        assert_eq!(fleet.report().clients_by_broker().len(), 3);
        let clients = stage.topology.client_addresses(family);
        for (index, broker) in stage.brokers.iter().enumerate() {
            let peers = broker.peers().unwrap();
            let seen = peers.iter().filter(|peer| clients.contains(&peer.ip())).count() as u64;
            assert!(seen > 0, "{peers:?}");
            let unwrapped = packets(&stage, index, "unwrapped") - before[index];
            // SYN, ACK and CONNECT at least.
            assert!(unwrapped >= 3 * seen, "{unwrapped} packets of {seen} clients");
        }
    }
}

#[test]
fn connections_survive_the_change_to_tunnels_and_the_list_of_who_may_wrap() {
    let _exclusive = exclusive();
    let stage = stage(2);
    let busy = stage.busy();
    let mut config = balancer::config(&stage.topology);
    config["tunnel"] = json!({ "sources": SOURCES });
    for service in config["services"].as_array_mut().unwrap() {
        service["mode"] = json!("ipip");
    }
    stage.balancer.write_config(&config).unwrap();
    stage.balancer.run_ctl("reload").unwrap();
    busy.exchange();
    for index in [0, 1] {
        assert!(packets(&stage, index, "unwrapped") > 0);
        let output = attach(&stage, index, &["10.98.0.0/16", SOURCES[0], SOURCES[1]]);
        assert!(output.status.success(), "{output:?}");
    }
    busy.assert_undisturbed();
}

#[test]
fn the_packet_log_names_the_ends_of_tunnels() {
    let _exclusive = exclusive();
    let mut stage = stage(1);
    wrap(&stage);
    stage.balancer.stop().unwrap();
    stage.balancer.set_options(&["--log-packets"]);
    stage.balancer.run().unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    let fleet = stage.connect(Family::V4, 1);
    let client = fleet.report().clients[0].local.unwrap();
    let vip = stage.topology.vip(Family::V4);
    // The way of this family leads through the other one.
    let broker = stage.topology.broker_address(0, Family::V6).ip();
    let request = format!("packet={client} > {vip}");
    let line = wait_logged(&stage, &["\"to_backend\"", &request, "rewritten=fd00:99::"]);
    assert!(line.contains(&format!(" > {broker} ")), "{line}");
}

#[test]
fn what_a_stranger_wraps_reaches_no_broker() {
    let _exclusive = exclusive();
    let stage = stage(1);
    wrap(&stage);
    let output = attach(&stage, 0, &["10.98.0.0/16"]);
    assert!(output.status.success(), "{output:?}");
    let vip = stage.topology.vip(Family::V4);
    let connect = || std::net::TcpStream::connect_timeout(&vip, std::time::Duration::from_secs(2));
    assert!(stage.topology.clients().run(connect).unwrap().is_err());
    assert!(packets(&stage, 0, "foreign_source") > 0);
    let output = attach(&stage, 0, &SOURCES);
    assert!(output.status.success(), "{output:?}");
    stage.topology.clients().run(connect).unwrap().unwrap();
    assert!(decap(&stage, 0, &["detach"]).status.success());
    assert_eq!(decap(&stage, 0, &["status"]).status.code(), Some(1));
}
