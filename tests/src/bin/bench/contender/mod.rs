//! What stands between clients and brokers, each with the settings an operator would begin with.

mod configuration;
mod service;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balancer::{self, Balancer};
use lb_tests::netns::Namespace;
use lb_tests::nftables;
use lb_tests::process::Process;
use lb_tests::topology::{Family, Topology};
use lb_tests::xdp;
use nix::sys::signal::Signal;
use serde_json::json;

use super::certificate::Certificate;
use super::load::Target;
use configuration::Place;
pub use service::{BROKER_TLS_PORT, Service};

const READY_LIMIT: Duration = Duration::from_secs(10);

/// Addresses of the balancer towards the brokers besides its first: a source port rests for a
/// minute after its connection, and a benchmark makes many in a minute.
const MORE_SOURCES: [&str; 7] = [
    "10.77.2.201",
    "10.77.2.202",
    "10.77.2.203",
    "10.77.2.204",
    "10.77.2.205",
    "10.77.2.206",
    "10.77.2.207",
];

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// No balancer: clients spread themselves over the brokers. Their packets cross the balancer's
    /// namespace all the same, routed by its kernel, so that the way is as long.
    Direct,
    /// The same, with an XDP program on the balancer's interfaces that passes every frame.
    Passing,
    Mqlb,
    Haproxy,
    Nginx,
    Nftables,
}

/// A contender at work.
#[derive(Debug)]
pub struct Running {
    pub target: Target,
    pub program: Option<Program>,
}

/// What runs for it in userspace.
#[derive(Debug)]
pub enum Program {
    Mqlb(Balancer),
    /// `mqlb` without a data plane: it has a service in the mode `mqtt` alone.
    MqlbMqtt(Balancer),
    Proxy(Process),
    /// Rules of the kernel.
    Nftables,
    /// XDP programs that do nothing.
    Passing {
        _attached: Vec<xdp::Attached>,
    },
}

impl Contender {
    /// Those that are compared in everything, in the order of each round.
    pub const ALL: [Self; 5] =
        [Self::Direct, Self::Mqlb, Self::Haproxy, Self::Nginx, Self::Nftables];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Passing => "direct with XDP",
            Self::Mqlb => "mqlb",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Nftables => "nftables",
        }
    }

    /// Starts it for such a service, and waits until it takes connections.
    pub fn start(self, topology: &Topology, mqlb: &Path, service: &Service) -> Result<Running> {
        let family = Family::V4;
        let tls = service.certificate().map(|certificate| certificate.clients.clone());
        let mut brokers = Place::of(topology).brokers;
        if tls.is_some() {
            for broker in &mut brokers {
                broker.set_port(BROKER_TLS_PORT);
            }
        }
        let program = match self {
            Self::Direct => None,
            _ => Some(self.start_program(topology, mqlb, service)?),
        };
        let addresses = match self {
            Self::Direct | Self::Passing => brokers,
            _ => vec![topology.vip(family)],
        };
        let target = Target { addresses, sources: topology.client_addresses(family), tls };
        Ok(Running { target, program })
    }

    fn start_program(self, topology: &Topology, mqlb: &Path, service: &Service) -> Result<Program> {
        let directory = topology.scratch().path();
        let balancer = topology.balancer();
        let place = Place::of(topology);
        let vip = place.vip;
        let proxy = |name: &str, text: String, command: &mut Command| {
            let file = directory.join(format!("{name}.conf"));
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            let process = Process::start(name, command.arg(&file), balancer, directory)?;
            process.wait_ready(READY_LIMIT, || accepts(topology.clients(), vip))?;
            Ok(Program::Proxy(process))
        };
        match self {
            Self::Direct => unreachable!("it has no program"),
            Self::Passing => {
                let attach = |interface: &&str| xdp::attach(interface, xdp::Verdict::Pass);
                let attached: Result<Vec<_>> =
                    balancer.run(|| topology.interfaces().iter().map(attach).collect())?;
                Ok(Program::Passing { _attached: attached? })
            }
            Self::Mqlb => {
                let config = match service {
                    Service::Tcp => mqlb_config(topology),
                    Service::Mqtt(certificate) => mqtt_config(topology, certificate.as_ref()),
                };
                let balancer = Balancer::start_program(topology, &config, mqlb.into())?;
                balancer.wait_active(READY_LIMIT)?;
                Ok(match service {
                    Service::Tcp => Program::Mqlb(balancer),
                    Service::Mqtt(_) => Program::MqlbMqtt(balancer),
                })
            }
            Self::Haproxy => proxy(
                "haproxy",
                configuration::haproxy(&place, service),
                Command::new("haproxy").args(["-db", "-f"]),
            ),
            Self::Nginx => proxy(
                "nginx",
                configuration::nginx(&place, service),
                Command::new("nginx").args(["-e", "stderr", "-p"]).arg(directory).arg("-c"),
            ),
            Self::Nftables => {
                nftables::balance(topology)?;
                Ok(Program::Nftables)
            }
        }
    }
}

impl Program {
    /// Its processes.
    pub fn processes(&self) -> Result<Vec<u32>> {
        match self {
            Self::Mqlb(balancer) | Self::MqlbMqtt(balancer) => {
                Ok(vec![balancer.process().context("mqlb runs")?.pid()])
            }
            Self::Proxy(process) => family(process.pid()),
            Self::Nftables | Self::Passing { .. } => Ok(Vec::new()),
        }
    }
}

/// A process and its children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    Ok(text.split_whitespace().flat_map(str::parse).chain([pid]).collect())
}

impl Running {
    /// Ends it, and takes it out of the packets' way.
    pub fn stop(self, topology: &Topology) -> Result<()> {
        match self.program {
            None | Some(Program::Passing { .. }) => Ok(()),
            Some(Program::Mqlb(mut balancer)) => {
                balancer.stop()?;
                balancer.detach()?;
                forget(topology)
            }
            Some(Program::MqlbMqtt(mut balancer)) => {
                balancer.stop()?;
                forget(topology)
            }
            Some(Program::Proxy(process)) => {
                process.signal(Signal::SIGTERM)?;
                // A proxy that was told to end by a signal may call that a failure.
                process.wait(READY_LIMIT).map(drop)
            }
            Some(Program::Nftables) => nftables::stop(topology),
        }
    }
}

/// The next start begins with nothing, as the first did.
fn forget(topology: &Topology) -> Result<()> {
    fs::remove_dir_all(topology.scratch().join("state")).context("remove the state")
}

/// What the network must have for all contenders.
pub fn prepare(topology: &Topology) -> Result<()> {
    ensure!(topology.interfaces().len() == 2, "the balancer has a link to the brokers");
    let lines: String = MORE_SOURCES.map(|ip| format!("addr add {ip}/24 dev eth1\n")).concat();
    topology.balancer().ip(&lines)?;
    topology.clients().sysctl(&[("net.ipv4.ip_local_port_range", "1024 65535")])?;
    // Apart from those of mqlb.
    topology.balancer().sysctl(&[("net.ipv4.ip_local_port_range", "30001 65535")])?;
    for index in 0..topology.brokers() {
        // A broker closes first and would remember each connection for a minute. Whoever stands in
        // front has few addresses for many connections in that minute, and a contender that begins
        // anew does not know which of its ports the brokers still remember.
        topology.broker(index).sysctl(&[("net.ipv4.tcp_max_tw_buckets", "0")])?;
    }
    let queue = [("net.core.somaxconn", "4096")];
    topology.balancer().sysctl(&queue)
}

/// One service on IPv4; otherwise the defaults.
pub fn mqlb_config(topology: &Topology) -> serde_json::Value {
    let mut config = balancer::config(topology);
    if let Some(services) = config["services"].as_array_mut() {
        services.truncate(1);
    }
    let first = topology.balancer_address(Family::V4).to_string();
    let addresses: Vec<&str> = [first.as_str()].into_iter().chain(MORE_SOURCES).collect();
    config["nat"]["addresses"] = json!(addresses);
    config["services"][0]["health"] = json!({ "type": "tcp" });
    config
}

/// One service on IPv4 in the mode `mqtt`, and nothing to attach to; otherwise the defaults.
fn mqtt_config(topology: &Topology, certificate: Option<&Certificate>) -> serde_json::Value {
    let mut config = mqlb_config(topology);
    if let Some(keys) = config.as_object_mut() {
        keys.remove("interfaces");
        keys.remove("nat");
    }
    let service = &mut config["services"][0];
    service["mode"] = json!("mqtt");
    service["mqtt"] = json!({ "sticky": {} });
    if let Some(files) = certificate {
        let pair = json!({ "certificate_file": files.chain, "key_file": files.key });
        service["mqtt"]["tls"] = json!({ "certificates": [pair], "min_version": "1.3" });
    }
    config
}

/// Whether somebody takes connections there.
fn accepts(clients: &Namespace, address: SocketAddr) -> bool {
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
    matches!(clients.run(connect), Ok(Ok(_)))
}
