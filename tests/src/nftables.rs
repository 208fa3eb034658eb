//! The kernel's own NAT as a balancer: a baseline of the benchmark, and proof of the network
//! without `mqlb`.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use crate::topology::{Family, MQTT_PORT, Topology};

/// From now on the kernel of the balancer's namespace sends connections to the VIPs to the brokers
/// in turn, with its own address as their source.
pub fn balance(topology: &Topology) -> Result<()> {
    topology.balancer().feed(Command::new("nft").args(["-f", "-"]), &rules(topology))
}

/// From now on it leaves them alone.
pub fn stop(topology: &Topology) -> Result<()> {
    topology.balancer().feed(Command::new("nft").args(["-f", "-"]), "flush ruleset\n")
}

fn rules(topology: &Topology) -> String {
    let mut rules = String::new();
    for (family, table, ip) in [(Family::V4, "ip", "ip"), (Family::V6, "ip6", "ip6")] {
        let vip = topology.vip(family).ip();
        let brokers: Vec<String> = (0..topology.brokers())
            .map(|index| format!("{index} : {}", topology.broker_address(index, family).ip()))
            .collect();
        let (count, brokers) = (brokers.len(), brokers.join(", "));
        let _ = write!(
            rules,
            "table {table} mqtt {{
               chain prerouting {{
                 type nat hook prerouting priority dstnat;
                 {ip} daddr {vip} tcp dport {MQTT_PORT} dnat to numgen inc mod {count} map {{ {brokers} }}
               }}
               chain postrouting {{
                 type nat hook postrouting priority srcnat;
                 ct status dnat masquerade
               }}
             }}\n"
        );
    }
    rules
}
