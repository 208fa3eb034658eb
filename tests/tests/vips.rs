//! Holds VIPs in namespaces: neighbours find them, and what an operator added stays.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use lb_tests::exclusive;
use lb_tests::netns::Namespace;
use lb_tests::topology::{Arms, Topology};
use lb_user::vips::{self, Changes};

const SETTLED: Duration = Duration::from_secs(3);

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn hold(host: &Namespace, texts: &[&str]) -> Changes {
    host.run(|| vips::hold(&addresses(texts), &["eth0".to_owned()])).unwrap().unwrap()
}

/// What `ip` prints in the namespace.
fn ip(host: &Namespace, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(arguments.split_whitespace());
    let output = host.run(|| command.output()).unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_vip_is_held_where_its_neighbours_are_and_removed_again() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 0).unwrap();
    let host = topology.balancer();
    let on_link = ["10.77.1.99", "fd77:1::99"];
    let routed = ["198.51.100.9", "2001:db8::9"];
    let all = [on_link, routed].concat();
    let changes = hold(host, &all);
    assert_eq!(changes, Changes { added: addresses(&all), removed: BTreeSet::new() });
    assert_eq!(hold(host, &all), Changes::default(), "nothing is left to do");

    let eth0 = ip(host, "address show dev eth0");
    assert!(on_link.iter().all(|vip| eth0.contains(&format!("{vip}/"))), "{eth0}");
    let lo = ip(host, "address show dev lo");
    assert!(routed.iter().all(|vip| lo.contains(&format!("{vip}/"))), "{lo}");
    for target in on_link {
        // Without an answer to ARP or neighbour discovery it fails.
        let mut ping = Command::new("ping");
        ping.args(["-c", "1", "-W", "2", target]);
        topology.clients().feed(&mut ping, "").unwrap();
    }

    assert_eq!(hold(host, &routed).removed, addresses(&on_link));
    let released = host.run(vips::release).unwrap().unwrap();
    assert_eq!(released, addresses(&routed));
    assert!(!ip(host, "address show").contains("198.51.100.9"));
}

#[test]
fn a_vip_that_an_operator_added_stays() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 0).unwrap();
    let host = topology.balancer();
    host.ip("addr add 10.77.1.99/32 dev eth0\n").unwrap();
    assert_eq!(hold(host, &["10.77.1.99", "10.77.1.98"]).added, addresses(&["10.77.1.98"]));
    assert_eq!(host.run(vips::release).unwrap().unwrap(), addresses(&["10.77.1.98"]));
    assert!(ip(host, "address show dev eth0").contains("10.77.1.99/32"));
}

#[test]
fn a_held_vip_is_no_source_of_the_hosts_own_connections() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 0).unwrap();
    let host = topology.balancer();
    // The closest match to the destination: the kernel would choose it.
    hold(host, &["fd77:1::65", "10.77.1.101"]);
    assert!(ip(host, "-6 route get fd77:1::64").contains("src fd77:1::2 "));
    assert!(ip(host, "route get 10.77.1.100").contains("src 10.77.1.2 "));
}

#[test]
fn neighbours_that_knew_another_holder_are_told() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::One, 0).unwrap();
    let (host, clients) = (topology.balancer(), topology.clients());
    let vips = ["10.77.1.99", "fd77:1::99"];
    for vip in vips {
        clients
            .ip(&format!("neigh add {vip} lladdr 02:00:00:00:00:99 dev eth0 nud reachable\n"))
            .unwrap();
    }
    hold(host, &vips);
    assert_eq!(host.run(vips::announce).unwrap().unwrap(), addresses(&vips));
    let link = ip(host, "-br link show dev eth0");
    let mac = link.split_whitespace().nth(2).unwrap();
    let deadline = Instant::now() + SETTLED;
    for vip in vips {
        while !ip(clients, &format!("neigh show {vip} dev eth0")).contains(mac) {
            assert!(Instant::now() < deadline, "{vip} is still where it was");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
