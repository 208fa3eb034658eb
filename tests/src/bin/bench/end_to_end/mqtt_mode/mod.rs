//! The mode `mqtt`, side by side with proxies that know MQTT or forward bytes, in plaintext and with
//! TLS that ends there.
//!
//! As in the parent, every round takes all candidates one after the other.

mod tables;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::broker::{Broker, Kind};
use lb_tests::topology::{Arms, Topology};

use super::Lengths;
use super::memory::{self, Grown};
use super::turn::{self, Turn};
use crate::certificate::Certificate;
use crate::contender::{self, BROKER_TLS_PORT, Contender, Service};
use crate::document::Block;

const FULL: Lengths = Lengths {
    rounds: 3,
    warm_up: Duration::from_millis(700),
    closed_loop: Duration::from_secs(3),
    fixed_rate: Duration::from_secs(5),
    idle_connections: 5000,
};

const QUICK: Lengths = Lengths {
    rounds: 2,
    warm_up: Duration::from_millis(200),
    closed_loop: Duration::from_millis(700),
    fixed_rate: Duration::from_secs(1),
    idle_connections: 1000,
};

/// Who is compared.
const CONTENDERS: [Contender; 4] =
    [Contender::Direct, Contender::Mqlb, Contender::Haproxy, Contender::Nginx];

/// Plaintext, and TLS.
const KINDS: usize = 2;

/// The figures of all candidates, those with TLS behind the others, each in the order of
/// [`CONTENDERS`].
type Each<T> = [T; KINDS * CONTENDERS.len()];

/// A candidate.
#[derive(Debug)]
struct Candidate {
    contender: Contender,
    service: Service,
}

pub fn run(quick: bool, mqlb: &Path, print: &dyn Fn(&str)) -> Result<Block> {
    let lengths = if quick { QUICK } else { FULL };
    let topology = Topology::new(Arms::Two, 3)?;
    contender::prepare(&topology)?;
    let certificate = Certificate::issue(topology.scratch().path())?;
    let brokers = start_brokers(&topology, &certificate)?;
    let candidates = candidates(&certificate);
    let mut rounds: Vec<Each<Turn>> = Vec::new();
    for number in 1..=lengths.rounds {
        rounds.push(each(&candidates, |candidate| {
            let Candidate { contender, service } = candidate;
            let turn = turn::take(*contender, &topology, mqlb, service, &lengths);
            let turn = turn.with_context(|| format!("round {number}"))?;
            print(&format!("round {number} of {}: {:12} {turn}", lengths.rounds, candidate.name()));
            Ok(turn)
        })?);
    }
    let memory: Each<Option<Grown>> = each(&candidates, |candidate| {
        let Candidate { contender, service } = candidate;
        let connections = lengths.idle_connections;
        memory::measure(*contender, &topology, mqlb, service, connections).context("memory")
    })?;
    drop(brokers);
    let names = each(&candidates, |candidate| Ok(candidate.name()))?;
    Ok(Block { name: "mqtt-mode", text: tables::write(&names, &rounds, &memory) })
}

impl Candidate {
    fn name(&self) -> String {
        let tls = if self.service.certificate().is_some() { ", TLS" } else { "" };
        format!("{}{tls}", self.contender.name())
    }
}

fn candidates(certificate: &Certificate) -> Vec<Candidate> {
    let kinds: [Service; KINDS] = [Service::Mqtt(None), Service::Mqtt(Some(certificate.clone()))];
    let all = kinds.iter().flat_map(|service| {
        CONTENDERS.map(|contender| Candidate { contender, service: service.clone() })
    });
    all.collect()
}

/// What `of` tells of each candidate, in their order.
fn each<T>(
    candidates: &[Candidate],
    mut of: impl FnMut(&Candidate) -> Result<T>,
) -> Result<Each<T>> {
    let told = candidates.iter().map(|candidate| of(candidate).with_context(|| candidate.name()));
    let told: Vec<T> = told.collect::<Result<_>>()?;
    told.try_into().ok().context("every candidate had its turn")
}

/// Each with a listener for TLS besides, for clients that come without a balancer.
fn start_brokers(topology: &Topology, certificate: &Certificate) -> Result<Vec<Broker>> {
    let lines = format!(
        "listener {BROKER_TLS_PORT}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.3\n",
        certificate.chain.display(),
        certificate.key.display()
    );
    let kind = Kind::MosquittoWith(lines);
    (0..topology.brokers()).map(|index| Broker::start(topology, index, &kind)).collect()
}
