//! `mqlb` between real brokers and real clients, driven as an operator drives it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod changes;
mod direct;
mod ecmp;
mod ejection;
mod failure;
mod greeting;
mod icmp;
mod kernel;
mod load;
mod metrics;
mod mqtt_edges;
mod mqtt_mode;
mod mqtt_passthrough;
mod mqtt_real;
mod packet_log;
mod remnants;
mod ring_diff;
mod silence;
mod spread;
mod storms;
mod takeover;
mod trace;
mod tunnel;

use std::process::Command;
use std::time::Duration;

use lb_tests::balancer::{self, Balancer};
use lb_tests::broker::{Broker, Kind};
use lb_tests::fleet::{Fleet, Plan, Report, Traffic};
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::Value;

/// How long anything that should happen at once may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// What is under way when a fleet stops has so long to arrive.
const GRACE: Duration = Duration::from_secs(10);

/// A program as the kernel names it.
#[derive(Debug, PartialEq, Eq)]
struct XdpProgram {
    /// No two that were ever loaded have the same.
    id: u64,
    /// A hash of its instructions.
    tag: String,
}

/// Brokers, and the balancer in front of them. In the order of their ends.
struct Stage {
    balancer: Balancer,
    brokers: Vec<Broker>,
    topology: Topology,
}

impl Stage {
    /// Every broker serves, and the balancer knows.
    fn new(arms: Arms, brokers: usize) -> Self {
        Self::with_config(arms, brokers, |_| {})
    }

    /// The same with changes to the configuration.
    fn with_config(arms: Arms, brokers: usize, change: impl FnOnce(&mut Value)) -> Self {
        let topology = Topology::new(arms, brokers).unwrap();
        let brokers = Broker::start_all(&topology).unwrap();
        let mut config = balancer::config(&topology);
        change(&mut config);
        let balancer = Balancer::start(&topology, &config).unwrap();
        balancer.wait_active(LIMIT).unwrap();
        Self { balancer, brokers, topology }
    }

    /// Starts one more broker, which the balancer does not know yet.
    fn start_broker(&mut self) -> usize {
        let index = self.topology.add_broker().unwrap();
        self.brokers.push(Broker::start(&self.topology, index, &Kind::Mosquitto).unwrap());
        index
    }

    /// Clients of the VIP of `family`.
    fn plan(&self, family: Family, clients: u32) -> Plan {
        let sources = self.topology.client_addresses(family);
        Plan { sources, ..Plan::new(self.topology.vip(family), clients) }
    }

    /// Idle clients that are all connected.
    fn connect(&self, family: Family, clients: u32) -> Fleet {
        let plan = Plan { prefix: "idle".into(), ..self.plan(family, clients) };
        let fleet = Fleet::start(self.topology.clients(), plan).unwrap();
        fleet.wait_connected(LIMIT).unwrap();
        fleet
    }

    /// 500 clients, half of them of each version of IP, that exchange messages without pause.
    fn busy(&self) -> Busy {
        let fleets = Family::ALL.map(|family| {
            let traffic = Traffic::ClosedLoop { pause: Duration::from_millis(100) };
            // A broker ends the older of two connections with one Client Identifier.
            let prefix = format!("busy-{}", balancer::service_name(family));
            let plan = Plan { traffic, prefix, ..self.plan(family, 250) };
            Fleet::start(self.topology.clients(), plan).unwrap()
        });
        let busy = Busy(fleets);
        for fleet in &busy.0 {
            fleet.wait_connected(LIMIT).unwrap();
        }
        busy.exchange();
        busy
    }

    /// Connects new clients, and returns the names of the brokers they reach.
    fn reached_by_new_clients(&self) -> Vec<String> {
        let mut reached = Vec::new();
        for family in Family::ALL {
            let fleet = self.connect(family, 60);
            wait_named(&fleet);
            let report = fleet.stop(GRACE).unwrap();
            report.assert_undisturbed();
            reached.extend(report.clients.into_iter().filter_map(|client| client.broker));
        }
        reached.sort();
        reached.dedup();
        reached
    }

    /// The XDP programs on the balancer's interfaces.
    fn programs(&self) -> Vec<XdpProgram> {
        let namespace = self.topology.balancer().name();
        let ip = ["-json", "-details", "-n", namespace, "link", "show"];
        let links = Command::new("ip").args(ip).output().unwrap();
        let links: Value = serde_json::from_slice(&links.stdout).unwrap();
        let programs = links.as_array().unwrap().iter().map(|link| &link["xdp"]["prog"]);
        let program = |program: &Value| {
            let (id, tag) = (program["id"].as_u64()?, program["tag"].as_str()?.to_owned());
            Some(XdpProgram { id, tag })
        };
        programs.filter_map(program).collect()
    }

    /// A backend of both services does something: `backend <verb> <service>/<name> <rest>`.
    fn backend(&self, verb: &str, name: &str, rest: impl Fn(Family) -> String) {
        for family in Family::ALL {
            let service = balancer::service_name(family);
            let command = format!("backend {verb} {service}/{name} {}", rest(family));
            self.balancer.run_ctl(&command).unwrap();
        }
    }

    /// Adds a running broker to both services.
    fn add_backend(&self, index: usize) {
        let rest = |family| self.topology.broker_address(index, family).to_string();
        self.backend("add", self.brokers[index].name(), rest);
        self.balancer.wait_active(LIMIT).unwrap();
    }
}

/// Waits until every client knows its broker: the message is behind the SUBACK.
fn wait_named(fleet: &Fleet) {
    let deadline = std::time::Instant::now() + LIMIT;
    while fleet.report().clients.iter().any(|client| client.broker.is_none()) {
        assert!(std::time::Instant::now() < deadline, "the brokers don't tell their names");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Clients that must not notice anything.
struct Busy([Fleet; 2]);

impl Busy {
    /// Every client receives some more messages.
    fn exchange(&self) {
        for fleet in &self.0 {
            fleet.wait_exchanged(5, LIMIT).unwrap();
        }
    }

    /// No disconnect, no lost message, and the same brokers as before.
    fn assert_undisturbed(self) {
        self.exchange();
        for fleet in self.0 {
            let report = fleet.stop(GRACE).unwrap();
            report.assert_undisturbed();
            assert_eq!(report.connects, 250);
        }
    }

    fn reports(&self) -> [Report; 2] {
        [self.0[0].report(), self.0[1].report()]
    }
}
