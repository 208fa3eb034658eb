//! Tells the health checker which backends to check, and how.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    desired::{Endpoint, service_key},
    members::{Health, Standing},
    tables::Tables,
};
use crate::{
    config::model::{Backend, Config, HealthCheck, Name, SendProxyProtocol, Service},
    health::{
        checker::Checker,
        target::{ServiceCheck, Target, TargetError},
    },
};

/// The checks of the services, and which backend has which.
#[derive(Debug)]
pub struct Checks {
    checker: Arc<Checker>,
    host: String,
    services: BTreeMap<Name, Prepared>,
    /// The round of preparation and the name with which each backend was given to the checker.
    given: HashMap<u32, (u64, Name)>,
    rounds: u64,
}

#[derive(Debug)]
struct Prepared {
    check: HealthCheck,
    loaded: Arc<ServiceCheck>,
    proxy_header: SendProxyProtocol,
    round: u64,
}

/// A check that cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[error("the health check of service {service}: {error}")]
pub struct ChecksError {
    service: Name,
    error: TargetError,
}

/// The header that its brokers want before all else.
fn proxy_header(service: &Service) -> SendProxyProtocol {
    service.mqtt.as_ref().map_or(SendProxyProtocol::Off, |mqtt| mqtt.send_proxy_protocol)
}

/// Checks made ready for a configuration, with everything read that can fail.
#[derive(Debug)]
pub struct Ready {
    services: BTreeMap<Name, Prepared>,
    targets: Vec<Order>,
    rounds: u64,
}

#[derive(Debug)]
struct Order {
    service: SocketAddr,
    backend: Name,
    broker: SocketAddr,
    round: u64,
    target: Target,
}

impl Checks {
    /// No checks yet; `host` is this machine's name, by which brokers will know the checks.
    #[must_use]
    pub fn new(checker: Arc<Checker>, host: String) -> Self {
        Self { checker, host, services: BTreeMap::new(), given: HashMap::new(), rounds: 0 }
    }

    /// The checker.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// Makes the checks of `config` ready. `reread` is whether certificates and passwords are read
    /// again although the configuration of their check is the same.
    pub fn prepare(&self, config: &Config, reread: bool) -> Result<Ready, ChecksError> {
        let mut ready =
            Ready { services: BTreeMap::new(), targets: Vec::new(), rounds: self.rounds + 1 };
        for service in &config.services {
            let Some(check) = &service.health else { continue };
            let failed = |error| ChecksError { service: service.name.clone(), error };
            let proxy_header = proxy_header(service);
            let same =
                |known: &&Prepared| known.check == *check && known.proxy_header == proxy_header;
            let known = self.services.get(&service.name).filter(same);
            let (loaded, round) = if let Some(known) = known.filter(|_| !reread) {
                (Arc::clone(&known.loaded), known.round)
            } else {
                let loaded = ServiceCheck::load(check, &self.host, service.name.as_str());
                (Arc::new(loaded.map_err(failed)?), ready.rounds)
            };
            for backend in &service.backends {
                let Backend { name, .. } = backend;
                let target = loaded.target(name.as_str(), backend.socket()).map_err(failed)?;
                // Another port has another listener, which may not want it.
                let same_port = target.address == backend.socket();
                let proxy_header = if same_port { proxy_header } else { SendProxyProtocol::Off };
                let target = Target { proxy_header, ..target };
                ready.targets.push(Order {
                    service: service.address(),
                    backend: name.clone(),
                    broker: backend.socket(),
                    round,
                    target,
                });
            }
            let prepared = Prepared { check: check.clone(), loaded, proxy_header, round };
            ready.services.insert(service.name.clone(), prepared);
        }
        Ok(ready)
    }

    /// Starts, changes and ends checks: from now on those of `ready`, for the backends as `tables`
    /// number them.
    pub fn begin(&mut self, ready: Ready, tables: &Tables, health: &Health) {
        let mut given = HashMap::new();
        let serving = tables.serving();
        for order in ready.targets {
            let service = tables.services.get(&service_key(order.service));
            let place = service.map(|service| (service.id, Endpoint::from(order.broker)));
            let Some(id) = place.and_then(|place| serving.get(&place).copied()) else {
                continue;
            };
            let version = (order.round, order.backend);
            if self.given.get(&id) != Some(&version) {
                let known = match health.of(id) {
                    Standing::Unproven => None,
                    Standing::Up => Some(true),
                    Standing::Down { .. } => Some(false),
                };
                self.checker.set(id, order.target, known);
            }
            given.insert(id, version);
        }
        for id in self.given.keys().filter(|id| !given.contains_key(id)) {
            self.checker.remove(*id);
        }
        self.given = given;
        self.services = ready.services;
        self.rounds = ready.rounds;
    }
}
