//! `mqlb trace`: packets followed while they pass, and no program left behind that tells of them.

use std::process::{Command, Output};
use std::time::Instant;

use lb_tests::balancer;
use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Traffic};
use lb_tests::process::Process;
use lb_tests::topology::{Arms, Family};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{GRACE, LIMIT, Stage, XdpProgram};

/// A few clients that exchange messages all the time.
fn talking(stage: &Stage, family: Family) -> Fleet {
    let traffic = Traffic::ClosedLoop { pause: std::time::Duration::from_millis(20) };
    let prefix = format!("traced-{family:?}");
    let plan = Plan { traffic, prefix, ..stage.plan(family, 5) };
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    fleet
}

fn wait_programs(stage: &Stage, expected: impl Fn(&[XdpProgram]) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !expected(&stage.programs()) {
        assert!(Instant::now() < deadline, "{:?}", stage.programs());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Starts `mqlb trace` and waits until it follows packets.
fn start_trace(stage: &Stage, before: &[XdpProgram]) -> Process {
    let directory = stage.topology.scratch().path();
    let mut command = Command::new(balancer::program().unwrap());
    command.arg("--socket").arg(directory.join("mqlb.sock"));
    command.args(["trace", "--client-port", "1", "--duration", "1h"]);
    let process =
        Process::start("trace", &mut command, stage.topology.balancer(), directory).unwrap();
    wait_programs(stage, |programs| programs != before);
    process
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_connection_is_traced_in_both_directions_with_verdict_and_backend() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 2);
    let before = stage.programs();
    for family in Family::ALL {
        let fleet = talking(&stage, family);
        let (vip, service) = (stage.topology.vip(family), balancer::service_name(family));
        let client = fleet.report().clients[0].local.unwrap();
        let words = format!(
            "--json trace --client {} --client-port {} --service {vip} --count 20",
            client.ip(),
            client.port()
        );
        let output = stage.balancer.ctl(words.split(' ')).unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), "20 packets: as many as asked for (--count)\n");
        let lines = String::from_utf8(output.stdout).unwrap();
        let packets: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(packets.len(), 20);
        let broker = fleet.report().clients[0].broker.clone();
        let ways = [("to_backend", "from", "eth0", "eth1"), ("to_client", "to", "eth1", "eth0")];
        for (verdict, end, enters, leaves) in ways {
            let ours = packets.iter().filter(|packet| packet["verdict"] == verdict);
            let ours: Vec<_> = ours.collect();
            assert!(!ours.is_empty(), "{lines}");
            for packet in ours {
                // At the side of the client, whichever that is.
                let side = if end == "from" { "came" } else { "goes" };
                assert_eq!(packet[side][end], client.to_string(), "{packet}");
                assert_eq!((&packet["in"], &packet["out"]), (&enters.into(), &leaves.into()));
                let backend = packet["backend"].as_str().unwrap();
                assert_eq!(
                    Some(backend),
                    broker.as_ref().map(|b| format!("{service}/{b}")).as_deref()
                );
            }
        }
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
    assert_eq!(stage.programs(), before, "the plain program is back");
}

#[test]
fn a_capture_is_read_by_tshark_with_both_sides_and_the_verdict() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 1);
    let fleet = talking(&stage, Family::V4);
    let file = stage.topology.scratch().join("trace.pcapng");
    let words = "trace --service mqtt-v4 --verdict to_backend --count 10 -w";
    let arguments = words.split(' ').map(str::to_owned).chain([file.display().to_string()]);
    let output = stage.balancer.ctl(arguments).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let fields = ["frame.interface_name", "frame.comment", "ip.dst", "tcp.dstport", "mqtt.msgtype"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&file).args(["-T", "fields"]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let read = tshark.output().unwrap();
    assert!(read.status.success(), "{}", said(&read));
    let read = String::from_utf8(read.stdout).unwrap();
    let lines: Vec<Vec<&str>> = read.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 20, "{read}");
    let vip = stage.topology.vip(Family::V4).ip().to_string();
    let broker = stage.topology.broker_address(0, Family::V4).ip().to_string();
    for pair in lines.chunks(2) {
        let comment = "verdict to_backend, backend mqtt-v4/broker-1";
        assert_eq!(pair[0][..4], ["in:eth0", comment, &vip, "1883"], "{read}");
        assert_eq!(pair[1][..4], ["out:eth1", comment, &broker, "1883"], "{read}");
        assert_eq!(pair[0][4], pair[1][4], "the same message on both sides");
    }
    assert!(lines.iter().any(|line| !line[4].is_empty()), "MQTT is seen: {read}");
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}

#[test]
fn a_trace_ends_with_whoever_asked_for_it_and_there_is_one_at_a_time() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 1);
    let fleet = talking(&stage, Family::V4);
    let before = stage.programs();
    let trace = start_trace(&stage, &before);
    let output = stage.balancer.ctl(["trace", "--count", "1"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).starts_with("error: somebody else is tracing packets"),
        "{}",
        said(&output)
    );
    trace.kill();
    wait_programs(&stage, |programs| programs == before);

    // Ctrl-C is an orderly end.
    let trace = start_trace(&stage, &before);
    trace.signal(Signal::SIGINT).unwrap();
    assert!(trace.wait(LIMIT).unwrap().success(), "{}", trace.output());
    assert!(trace.output().ends_with("0 packets\n"), "{}", trace.output());
    wait_programs(&stage, |programs| programs == before);

    // A controller that dies leaves a program that is silent in time; the next one replaces it.
    let trace = start_trace(&stage, &before);
    stage.balancer.kill();
    assert_eq!(trace.wait(LIMIT).unwrap().code(), Some(1));
    stage.balancer.run().unwrap();
    let tags = |programs: &[XdpProgram]| programs.iter().map(|p| p.tag.clone()).collect::<Vec<_>>();
    assert_eq!(tags(&stage.programs()), tags(&before));
    fleet.stop(GRACE).unwrap().assert_undisturbed();
}
