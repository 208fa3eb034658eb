//! What the show plays in: networks, brokers, `mqlb`, and fleets of clients.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balancer::{self, Balancer};
use lb_tests::broker::{Broker, Kind};
use lb_tests::fleet::{Fleet, Plan, Reconnect, Report, Traffic};
use lb_tests::topology::{Arms, Family, Topology};
use serde_json::{Value, json};

use super::rates::Rates;
use super::stage::Stage;
use super::view::{BrokerView, View};

/// The service that the show is about.
pub const SERVICE: &str = "mqtt";

/// A broker that stops answering is known to be down after at most this time: a check each
/// interval, two failures, and the time the second may take.
pub const DETECTION: Duration = Duration::from_millis(500 + 500 + 300);

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Clients publish twice a second.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(3);

/// A client that was disconnected tries again after this time.
const PAUSE: Duration = Duration::from_millis(200);

/// Everything; dropped, it is gone. Clients go first, the networks last.
#[derive(Debug)]
pub struct World {
    pub fleets: Vec<Fleet>,
    pub balancer: Balancer,
    /// `None` for one that was killed.
    pub brokers: Vec<Option<Broker>>,
    topology: Topology,
    kind: Kind,
    rates: Rates,
}

impl World {
    /// Networks, three brokers, and `mqlb` between them and nobody yet.
    pub fn build(mqlb: PathBuf, stage: &mut Stage) -> Result<Self> {
        stage.act("A network with three brokers", "ip netns add ...");
        let topology = Topology::new(Arms::Two, 3)?;
        let program = std::env::current_exe().context("find this program")?;
        let kind = Kind::Program(program, vec!["broker".into()]);
        let brokers = (0..topology.brokers()).map(|index| Broker::start(&topology, index, &kind));
        let brokers = brokers.map(|broker| broker.map(Some)).collect::<Result<Vec<_>>>()?;
        stage.note("clients, balancer and each broker in a network namespace, joined by veth");
        stage.act("mqlb takes its place", "mqlb run -c mqlb.yaml");
        let balancer = Balancer::start_program(&topology, &config(&topology), mqlb)?;
        balancer.wait_active(CONNECT_LIMIT)?;
        Ok(Self { fleets: Vec::new(), balancer, brokers, topology, kind, rates: Rates::default() })
    }

    /// Connects `clients` more, which begin to publish and receive.
    pub fn connect(&mut self, clients: u32) -> Result<()> {
        let plan = Plan {
            sources: self.topology.client_addresses(Family::V4),
            prefix: format!("fleet{}", self.fleets.len() + 1),
            traffic: Traffic::Every(Duration::from_millis(500)),
            reconnect: Reconnect::After(PAUSE),
            ..Plan::new(self.topology.vip(Family::V4), clients)
        };
        let fleet = Fleet::start(self.topology.clients(), plan)?;
        fleet.wait_connected(CONNECT_LIMIT)?;
        fleet.wait_exchanged(1, CONNECT_LIMIT)?;
        self.fleets.push(fleet);
        Ok(())
    }

    /// Starts one more broker, and returns its name and its address.
    pub fn start_broker(&mut self) -> Result<(String, String)> {
        let index = self.topology.add_broker()?;
        let broker = Broker::start(&self.topology, index, &self.kind)?;
        let name = broker.name().to_owned();
        self.brokers.push(Some(broker));
        Ok((name, self.topology.broker_address(index, Family::V4).to_string()))
    }

    /// Waits until every client has received a message that it publishes from now on, or before.
    pub fn everybody_exchanges(&self) -> Result<()> {
        self.fleets.iter().try_for_each(|fleet| fleet.wait_exchanged(1, EXCHANGE_LIMIT))
    }

    /// What the fleets have seen so far.
    pub fn reports(&self) -> Vec<Report> {
        self.fleets.iter().map(Fleet::report).collect()
    }

    /// Ends the clients in good order, and returns what they saw.
    pub fn stop_clients(&mut self) -> Result<Vec<Report>> {
        self.fleets.drain(..).map(|fleet| fleet.stop(Duration::from_secs(5))).collect()
    }

    /// How things are now.
    pub fn view(&mut self) -> View {
        let running = self.balancer.process().map(lb_tests::process::Process::pid);
        let status = running.and_then(|_| self.balancer.json("status").ok());
        let reports = self.reports();
        let forwarded = status.as_ref().map(|status| {
            let of = |verdict: &str| status["verdicts"][verdict].as_u64().unwrap_or_default();
            of("to_backend") + of("to_client")
        });
        let rate = self.rates.look(&reports, forwarded);
        let clients = |name: &str| {
            let all = reports.iter().flat_map(|report| &report.clients);
            all.filter(|client| client.local.is_some() && client.broker.as_deref() == Some(name))
                .count()
        };
        let brokers = (1..=self.brokers.len()).map(|number| {
            let name = format!("broker-{number}");
            let backend = status.as_ref().and_then(|status| backend(status, &name));
            BrokerView {
                clients: clients(&name),
                messages_per_s: rate.messages.get(&name).copied().unwrap_or_default(),
                state: backend.and_then(|found| Some(found["state"].as_str()?.to_owned())),
                share: backend.and_then(|found| found["share"].as_f64()),
                connections: backend.and_then(|found| found["traffic"]["open"].as_u64()),
                name,
            }
        });
        View {
            brokers: brokers.collect(),
            controller: running,
            packets_per_s: rate.packets,
            latency: rate.latency,
            clients: (
                reports.iter().map(|report| report.clients.len()).sum(),
                reports.iter().map(Report::connected).sum(),
            ),
            delivered: reports.iter().map(|report| report.counts().received).sum(),
            lost: reports.iter().map(|report| report.counts().lost).sum(),
        }
    }
}

/// The report on a backend, in the answer of `mqlb --json status`.
fn backend<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let backends = status["services"][0]["backends"].as_array()?;
    backends.iter().find(|backend| backend["name"] == name)
}

/// The configuration of the tests, with one service.
fn config(topology: &Topology) -> Value {
    let mut config = balancer::config(topology);
    if let Some(services) = config["services"].as_array_mut() {
        services.truncate(1);
    }
    config["services"][0]["name"] = SERVICE.into();
    config["services"][0]["health"] = json!({
        "type": "mqtt", "interval": "500ms", "timeout": "300ms", "rise": 2, "fall": 2, "jitter": "0%",
    });
    config
}
