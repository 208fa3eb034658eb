//! Proves the harness itself, without `mqlb`: its networks carry real brokers and clients, and
//! nothing is left of them afterwards.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lb_tests::broker::Broker;
use lb_tests::fleet::{Fleet, Plan, Traffic};
use lb_tests::topology::{Arms, Family, Topology};
use lb_tests::traces::Traces;
use lb_tests::{cleanup, exclusive, nftables, xdp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CLIENTS: u32 = 100;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);

/// A hundred clients exchange messages, and nothing goes wrong.
fn exchange(topology: &Topology, plan: Plan) -> lb_tests::fleet::Report {
    let traffic = Traffic::ClosedLoop { pause: Duration::from_millis(20) };
    let fleet = Fleet::start(topology.clients(), Plan { traffic, ..plan }).unwrap();
    fleet.wait_connected(CONNECT_LIMIT).unwrap();
    fleet.wait_exchanged(10, CONNECT_LIMIT).unwrap();
    let running = fleet.report();
    fleet.stop(GRACE).unwrap().assert_undisturbed();
    running
}

fn carries_a_fleet_directly_and_through_nat(arms: Arms) {
    let topology = Topology::new(arms, 3).unwrap();
    let brokers = Broker::start_all(&topology).unwrap();
    nftables::balance(&topology).unwrap();
    for family in Family::ALL {
        let direct = exchange(&topology, Plan::new(topology.broker_address(1, family), CLIENTS));
        assert_eq!(direct.clients_by_broker(), [("broker-2".to_owned(), 100)].into());

        let sources = topology.client_addresses(family);
        let plan = Plan { sources, ..Plan::new(topology.vip(family), CLIENTS) };
        let balanced = exchange(&topology, plan);
        let shares: Vec<usize> = balanced.clients_by_broker().into_values().collect();
        assert_eq!(shares.len(), brokers.len());
        assert!(shares.iter().all(|share| (33..=34).contains(share)), "in turn, but {shares:?}");
    }
}

#[test]
fn a_one_armed_network_carries_a_fleet() {
    let _exclusive = exclusive();
    carries_a_fleet_directly_and_through_nat(Arms::One);
}

#[test]
fn a_two_armed_network_carries_a_fleet() {
    let _exclusive = exclusive();
    carries_a_fleet_directly_and_through_nat(Arms::Two);
}

#[test]
#[cfg(feature = "embedded-broker")]
fn the_embedded_broker_serves_three_hundred_clients() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 1).unwrap();
    let lab = env!("CARGO_BIN_EXE_lab").into();
    let kind = lb_tests::broker::Kind::Program(lab, vec!["embedded-broker".into()]);
    let _broker = Broker::start(&topology, 0, &kind).unwrap();
    for family in Family::ALL {
        let report = exchange(&topology, Plan::new(topology.broker_address(0, family), 300));
        assert_eq!(report.clients_by_broker(), [("broker-1".to_owned(), 300)].into());
    }
}

/// Packets received by an interface of the switch.
fn received_by(topology: &Topology, interface: &str) -> u64 {
    let table = topology.switch().run(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
    let table = table.unwrap().unwrap();
    let mut lines = table.lines().filter_map(|line| line.trim().strip_prefix(interface));
    let counters = lines.find_map(|line| line.strip_prefix(':')).unwrap();
    counters.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One at a time and with pauses: a full queue would hide that nobody wakes its reader.
#[test]
fn the_switch_receives_every_frame_that_an_xdp_program_of_the_balancer_transmits() {
    const FRAMES: u64 = 100;
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 0).unwrap();
    let target = topology.vip(Family::V4);
    let socket = topology.clients().run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    // Finds the balancer's hardware address while it can still answer.
    socket.send_to(b"first", target).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let attach = || xdp::attach("eth0", xdp::Verdict::Transmit);
    let _program = topology.balancer().run(attach).unwrap().unwrap();
    let before = received_by(&topology, topology.balancer_ports()[0]);
    for _ in 0..FRAMES {
        socket.send_to(b"again", target).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    let received = received_by(&topology, topology.balancer_ports()[0]) - before;
    assert!(received >= FRAMES, "{received} of {FRAMES}");
}

/// A network in another process, with the numbers of its brokers' processes.
fn start_lab() -> (Child, Traces) {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["two", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pids = vec![];
    for line in BufReader::new(lab.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some((_, process)) = line.split_once(" process ") {
            pids.push(process.split_once(',').unwrap().0.parse().unwrap());
        }
        if line.starts_with("files") {
            break;
        }
    }
    assert_eq!(pids.len(), 2, "the lab printed its brokers");
    let traces = Traces::of(lab.id(), pids);
    // Five namespaces (each a file and a mount), two processes, a directory, a bpffs.
    assert!(traces.left().len() >= 9, "only {:?}", traces.left());
    (lab, traces)
}

#[test]
fn a_panicking_test_leaves_nothing_behind() {
    let _exclusive = exclusive();
    let test = std::thread::spawn(|| {
        let topology = Topology::new(Arms::Two, 2).unwrap();
        let brokers = Broker::start_all(&topology).unwrap();
        let fleet = Fleet::start(topology.clients(), Plan::new(topology.vip(Family::V4), 10));
        let pids: Vec<u32> = brokers.iter().map(|broker| broker.process().pid()).collect();
        // The fleet has nowhere to connect to: it dies trying.
        std::panic::panic_any((pids, fleet.is_ok()));
    });
    let (pids, fleet_started) = *test.join().unwrap_err().downcast::<(Vec<u32>, bool)>().unwrap();
    assert!(fleet_started);
    assert_eq!(pids.len(), 2);
    Traces::of(std::process::id(), pids).assert_gone();
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let _exclusive = exclusive();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut lab, traces) = start_lab();
        kill(Pid::from_raw(lab.id().cast_signed()), signal).unwrap();
        let status = lab.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal as i32));
        traces.assert_gone();
    }
}

#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    let _exclusive = exclusive();
    let (mut lab, traces) = start_lab();
    lab.kill().unwrap();
    lab.wait().unwrap();
    assert!(!traces.left().is_empty(), "a killed program can't clean up");
    cleanup::sweep_stale();
    traces.assert_gone();
}
