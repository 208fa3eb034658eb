//! The configuration files of the proxies: what their packages bring, without logs, with room for
//! many connections, and with timeouts that leave MQTT connections alone.

use std::fmt::Write as _;

use lb_tests::topology::{Family, Topology};

/// By default as many threads as there are CPUs.
const HAPROXY: &str = include_str!("haproxy.cfg");

/// `auto` is as many workers as there are CPUs.
const NGINX: &str = include_str!("nginx.conf");

pub fn haproxy(topology: &Topology) -> String {
    let mut text = HAPROXY.replace("{vip}", &topology.vip(Family::V4).to_string());
    for index in 0..topology.brokers() {
        let address = topology.broker_address(index, Family::V4);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    server broker-{} {address}", index + 1);
    }
    text
}

pub fn nginx(topology: &Topology) -> String {
    let servers: Vec<String> = (0..topology.brokers())
        .map(|index| format!("server {};", topology.broker_address(index, Family::V4)))
        .collect();
    NGINX
        .replace("{vip}", &topology.vip(Family::V4).to_string())
        .replace("{servers}", &servers.join("\n        "))
}
