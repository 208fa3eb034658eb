//! A network whose brokers have many addresses, so that a service has many backends.

use std::fmt::Write as _;

use anyhow::Result;
use lb_tests::balancer;
use lb_tests::broker::Broker;
use lb_tests::topology::{Arms, MQTT_PORT, Topology};
use serde_json::{Value, json};

use super::BACKENDS;

pub const SERVICE: &str = "mqtt-v4";

/// Programs that play the brokers. A controller that has just started checks all backends at once;
/// were they all one mosquitto, its queue of 100 connections would run full, and clients' connections
/// that come at that moment would be dropped.
const BROKERS: usize = 4;

/// A few brokers are behind all the backends: each backend is an address of one of them.
#[derive(Debug)]
pub struct Network {
    /// Held for as long as the network.
    _brokers: Vec<Broker>,
    pub topology: Topology,
}

impl Network {
    pub fn build() -> Result<Self> {
        let topology = Topology::new(Arms::Two, BROKERS)?;
        for broker in 0..BROKERS {
            let mut lines = String::new();
            // One more, for the backend that is added by command.
            for number in (broker..=BACKENDS).step_by(BROKERS) {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "addr add {}/24 dev eth0", address(number));
            }
            topology.broker(broker).ip(&lines)?;
        }
        let brokers = Broker::start_all(&topology)?;
        Ok(Self { _brokers: brokers, topology })
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
