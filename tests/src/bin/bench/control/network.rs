//! A network whose brokers have many addresses, so that a service has many backends.

use std::fmt::Write as _;

use anyhow::Result;
use lb_tests::balancer;
use lb_tests::broker::Broker;
use lb_tests::topology::{Arms, MQTT_PORT, Topology};
use serde_json::{Value, json};

use super::BACKENDS;

pub const SERVICE: &str = "mqtt-v4";

/// One broker is behind all the backends: each is an address of its.
#[derive(Debug)]
pub struct Network {
    /// Held for as long as the network.
    _broker: Broker,
    pub topology: Topology,
}

impl Network {
    pub fn build() -> Result<Self> {
        let topology = Topology::new(Arms::Two, 1)?;
        let mut lines = String::new();
        // One more, for the backend that is added by command.
        for number in 0..=BACKENDS {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "addr add {}/24 dev eth0", address(number));
        }
        topology.broker(0).ip(&lines)?;
        let broker = Broker::start_all(&topology)?.remove(0);
        Ok(Self { _broker: broker, topology })
    }

    /// One service, with all defaults.
    pub fn config(&self) -> Value {
        let mut config = balancer::config(&self.topology);
        let backends: Vec<Value> = (0..BACKENDS).map(backend).collect();
        if let Some(services) = config["services"].as_array_mut() {
            services.truncate(1);
            if let Some(service) = services[0].as_object_mut() {
                service.remove("health");
            }
        }
        config["services"][0]["backends"] = json!(backends);
        config
    }
}

/// The backend with this number, for the configuration and for the command that adds it.
pub fn backend(number: usize) -> Value {
    json!({ "name": name(number), "address": address(number), "port": MQTT_PORT, "weight": 100 })
}

pub fn name(number: usize) -> String {
    format!("backend-{number}")
}

/// In the brokers' network, beside the addresses that others have there.
pub fn address(number: usize) -> String {
    format!("10.77.2.{}", 100 + number)
}
