//! Examines hosts that are namespaces, set up well and badly, and mends them by the doctor's advice.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::Command;

use lb_tests::balancer;
use lb_tests::topology::{Arms, Family, Topology};
use lb_tests::{exclusive, xdp};
use lb_user::config::{self, model::Config};
use lb_user::doctor::{Finding, Severity, examine, gather};

fn config(topology: &Topology) -> Config {
    config::parse(&balancer::config(topology).to_string()).unwrap()
}

/// What is not well with the balancer's host.
fn complaints(topology: &Topology) -> Vec<Finding> {
    let config = config(topology);
    let host = topology.balancer().run(|| gather(&config)).unwrap().unwrap();
    let mut findings = examine(&config, &host);
    findings.retain(|finding| finding.severity >= Severity::Warning);
    findings
}

/// Whether an error of this check says so.
#[track_caller]
fn assert_error(findings: &[Finding], check: &str, what: &str) {
    assert!(
        findings.iter().any(|finding| finding.severity == Severity::Error
            && finding.check == check
            && finding.what.contains(what)),
        "no error of {check} says {what:?}: {findings:#?}"
    );
}

#[test]
fn a_host_that_is_set_up_well_gives_no_complaint() {
    let _exclusive = exclusive();
    for arms in [Arms::One, Arms::Two] {
        let topology = Topology::new(arms, 1).unwrap();
        assert_eq!(complaints(&topology), [], "{arms:?}");
    }
}

#[test]
fn what_is_wrong_is_named_and_the_commands_mend_it() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::Two, 1).unwrap();
    let host = topology.balancer();
    let (vip, own) = (topology.vip(Family::V4).ip(), topology.balancer_address(Family::V4));
    host.sysctl(&[
        ("net.ipv4.conf.eth0.forwarding", "0"),
        ("net.ipv6.conf.all.forwarding", "0"),
        ("net.ipv4.conf.all.accept_local", "0"),
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv4.ip_local_port_range", "20000 60999"),
    ])
    .unwrap();
    host.ip(&format!("link set eth0 mtu 1400\naddr del {vip}/32 dev lo\n")).unwrap();
    host.ip(&format!("addr add {own}/32 dev lo\naddr del {own}/24 dev eth1\n")).unwrap();
    host.ip("route add 10.77.2.0/24 dev eth1\nlink set eth0 down\n").unwrap();

    let found = complaints(&topology);
    assert_error(&found, "interface", "eth0 is down");
    assert_error(&found, "forwarding", "eth0 does not forward IPv4");
    assert_error(&found, "forwarding", "eth1 does not forward IPv6");
    assert_error(&found, "reverse_path", "eth0 refuses packets from addresses of this host");
    assert_error(&found, "reverse_path", "eth1 filters by the reverse path");
    assert_error(&found, "ports", "15000-30000 overlaps the kernel's 20000-60999");
    let of = |check: &str| found.iter().filter(|finding| finding.check == check).count();
    assert_eq!((of("vip"), of("mtu")), (1, 1), "{found:#?}");

    for finding in found {
        let command = finding.mend.unwrap();
        host.feed(Command::new("sh").args(["-e", "-s"]), &command).unwrap();
    }
    assert_eq!(complaints(&topology), []);
}

#[test]
fn what_a_host_lacks_altogether_is_named() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::Two, 1).unwrap();
    let host = topology.balancer();
    let own = topology.balancer_address(Family::V4);
    host.ip(&format!("addr del {own}/24 dev eth1\n")).unwrap();
    let found = complaints(&topology);
    assert_error(&found, "nat_address", "no interface holds 10.77.2.2");
    assert_error(&found, "route", "no route to 10.77.2.11");

    host.ip("link del eth1\n").unwrap();
    assert_error(&complaints(&topology), "interface", "eth1 does not exist");
}

#[test]
fn the_program_of_somebody_else_is_named() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 1).unwrap();
    let _theirs =
        topology.balancer().run(|| xdp::attach("eth0", xdp::Verdict::Pass)).unwrap().unwrap();
    assert_error(&complaints(&topology), "xdp", "eth0 has an XDP program already");
}
