//! Answers about services and backends.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::UNIX_EPOCH,
};

use lb_common::{ring::SLOTS, ticks, verdict::Verdict};

use super::{
    controller::Controller,
    datapath::DatapathError,
    desired::service_key,
    error::ChangeError,
    members::Standing,
    overlay::CommandError,
    report::{
        BackendReport, BackendState, BrokerPorts, ChangesReport, HealthState, LimitsReport,
        LoadReport, ServiceReport, ServiceState, SlotsReport, Status, TablesReport, Traffic,
    },
    warming,
};
use crate::{
    config::model::{Backend, Probe, Service},
    health::{
        checker::Snapshot,
        state::{Health, Run},
    },
    ring::{self, transition::Summary},
};

impl Controller {
    /// The whole picture.
    pub fn status(&self) -> Result<Status, DatapathError> {
        let Self { config, .. } = self;
        let verdicts = self.applied.datapath().verdicts()?;
        let named = Verdict::ALL.iter().zip(verdicts).map(|(v, n)| (v.name().to_owned(), n));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            config: self.file.display().to_string(),
            interfaces: config.interfaces.iter().map(|interface| interface.name.clone()).collect(),
            config_file: self.config_file,
            changed_by_command: !self.overlay.is_empty(),
            changes: self.changes_report(),
            tables: TablesReport {
                flows: self.counts.flows,
                flows_limit: config.limits.connections.into(),
                pending: self.counts.pending,
                pending_limit: config.limits.pending.into(),
                backends: self.applied.tables().backends.len() as u64,
                backends_limit: config.limits.backends.into(),
                last_sweep_us: self.counts.last_sweep.as_micros() as u64,
                brokers: self.broker_ports(),
            },
            verdicts: named.collect(),
            services: self.service_reports()?,
        })
    }

    fn changes_report(&self) -> ChangesReport {
        let changes = self.applied.changes();
        ChangesReport {
            made: changes.made,
            failed: changes.failed,
            last_took_us: changes.last_took.as_micros() as u64,
        }
    }

    fn broker_ports(&self) -> Vec<BrokerPorts> {
        let tables = self.applied.tables();
        let each = tables.settings.map_or(0, |settings| u64::from(settings.ports));
        let mut brokers: BTreeMap<SocketAddr, BrokerPorts> = BTreeMap::new();
        for (key, peer) in &tables.peers {
            let address = SocketAddr::new(key.broker.into(), u16::from_be_bytes(key.port));
            let none = BrokerPorts { address, ports: 0, ports_in_use: 0 };
            let broker = brokers.entry(address).or_insert(none);
            broker.ports += each;
            broker.ports_in_use += self.counts.ports.get(peer).copied().unwrap_or_default();
        }
        brokers.into_values().collect()
    }

    /// The services.
    pub fn service_reports(&self) -> Result<Vec<ServiceReport>, DatapathError> {
        self.config.services.iter().map(|service| self.service_report(service)).collect()
    }

    /// One backend.
    pub fn backend(&self, service: &str, name: &str) -> Result<BackendReport, ChangeError> {
        let service = self.service(service)?;
        let found = self.service_report(service)?.backends.into_iter().find(|b| b.name == *name);
        let missing =
            || CommandError::NoBackend { service: service.name.clone(), backend: name.to_owned() };
        Ok(found.ok_or_else(missing)?)
    }

    /// The port that clients of this service connect to.
    pub fn service_port(&self, service: &str) -> Result<u16, ChangeError> {
        Ok(self.service(service)?.port)
    }

    /// One service.
    pub(super) fn service_report(&self, service: &Service) -> Result<ServiceReport, DatapathError> {
        let tables = self.applied.tables();
        let id = tables.services.get(&service_key(service.address())).map(|service| service.id);
        let spec = id.and_then(|id| tables.rings.get(&id));
        let shares = spec.map_or_else(BTreeMap::new, |spec| ring::slots(&spec.members));
        let checks: HashMap<u32, Snapshot> =
            self.checks.checker().snapshot().into_iter().map(|s| (s.backend, s)).collect();
        let serving = tables.serving();
        let numbered: Vec<(u32, Backend)> = self
            .overlay
            .backends(service)
            .into_iter()
            .filter_map(|b| Some((*serving.get(&(id?, b.socket().into()))?, b)))
            .collect();
        let ids: Vec<u32> = numbered.iter().map(|(id, _)| *id).collect();
        let counters = self.backend_counters(&ids)?;
        let slots_of_ring = spec.and_then(|spec| spec.slots.as_ref());
        let missed = id.map(|id| self.applied.datapath().missed(id)).unwrap_or_default();
        let known_in = |id| {
            let slots = slots_of_ring?;
            let pace = service.pace(self.config.timeouts.pending);
            let ticks = slots.known_in(id, pace, &missed, self.now())?;
            Some(ticks::to_duration(ticks).as_secs())
        };
        let mut loads = self.proxies.loads(service.address());
        let mut traffic = Traffic::default();
        let mut backends = Vec::new();
        for ((id, backend), counters) in numbered.iter().zip(&counters) {
            let carried = self.counts.traffic(*id, counters);
            traffic += carried;
            let slots = shares.get(id).copied().unwrap_or_default();
            let check = checks.get(id).filter(|_| service.health.is_some());
            let known_in = if slots_of_ring.is_some() { known_in(*id) } else { Some(0) };
            let facts = Facts { slots, check, traffic: carried, known_in };
            let load = loads.remove(id).map(LoadReport::from);
            backends
                .push(BackendReport { load, ..self.backend_report(service, *id, backend, facts) });
        }
        Ok(ServiceReport {
            name: service.name.clone(),
            vip: service.vip,
            port: service.port,
            mode: service.mode,
            state: service_state(&backends),
            idle_timeout_s: service.idle_timeout.as_secs(),
            no_backend: service.no_backend,
            all_down: service.all_down,
            check: service.health.as_ref().map_or("none", |h| Probe::kind(&h.probe)).to_owned(),
            traffic,
            slots: slots_of_ring.map(|slots| {
                let Summary { in_transition, looked_up, learning } = slots.summary();
                SlotsReport { in_transition, looked_up, learning }
            }),
            proxy: self.proxy_report(service),
            backends,
        })
    }

    fn backend_report(
        &self,
        service: &Service,
        id: u32,
        backend: &Backend,
        facts: Facts<'_>,
    ) -> BackendReport {
        let Facts { slots, check, traffic, known_in } = facts;
        let health = match check.map(|check| check.health) {
            // What the rings follow, for the moment until the news has arrived here.
            None if service.health.is_none() => HealthState::Unchecked,
            None | Some(Health::Unknown) => HealthState::Unknown,
            Some(Health::Up) => HealthState::Up,
            Some(Health::Down) => HealthState::Down,
        };
        let drained = self.overlay.is_drained(&service.name, &backend.name);
        let (ejected, ejections) = self.ejected(&service.name, id);
        let up = service.health.is_none() || self.health.of(id) == Standing::Up;
        let state = match (drained, slots > 0) {
            (true, _) if traffic.open == 0 && known_in == Some(0) => BackendState::Drained,
            (true, _) => BackendState::Draining,
            (false, true) if up => BackendState::Active,
            (false, true) => BackendState::LastKnownGood,
            (false, false) if up && ejected.is_some() => BackendState::Ejected,
            (false, false) if health == HealthState::Unknown => BackendState::Checking,
            (false, false) => BackendState::Down,
        };
        BackendReport {
            service: service.name.clone(),
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            id,
            weight: backend.weight.value(),
            state,
            health,
            health_since_s: check.map(|check| check.since.as_secs()),
            health_changed_at_s: check.map(|check| {
                check.changed_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
            }),
            consecutive_failures: check.map_or(0, |check| match check.in_a_row {
                Run::Failures(failures) => failures,
                Run::Successes(_) => 0,
            }),
            last_error: check.and_then(|check| check.last_error.clone()),
            check_latency_us: check.and_then(|check| Some(check.last_latency?.as_micros() as u64)),
            checks: check.map_or((0, 0), |check| (check.probes, check.failed_probes)),
            ejected,
            ejections,
            load: None,
            slots,
            share: f64::from(slots) / f64::from(SLOTS as u32),
            limits: self.limits_report(service, id, backend),
            traffic,
            open_known_in_s: known_in,
        }
    }

    /// What a backend may take.
    pub(super) fn limits_report(
        &self,
        service: &Service,
        id: u32,
        backend: &Backend,
    ) -> LimitsReport {
        let limits = backend.limits.or(service.limits);
        let slow_start = service.slow_start.map_or(0, ticks::from_duration);
        let up_for = self.health.up_for(id, self.now());
        let full = limits.max_new_per_second;
        LimitsReport {
            new_per_second: full,
            new_per_second_now: full.map(|full| warming::rate(full, up_for, slow_start)),
            connections: limits.max_connections,
        }
    }

    /// `SERVICE/BACKEND` of the backend with this number; its number if it has been removed.
    pub(super) fn name_of(&self, id: u32) -> String {
        self.backend_of(id).map_or_else(
            || format!("(removed backend {id})"),
            |(service, backend)| format!("{}/{}", service.name, backend.name),
        )
    }

    /// The service and the backend with this number, unless it has been removed.
    pub(super) fn backend_of(&self, id: u32) -> Option<(&Service, Backend)> {
        let tables = self.applied.tables();
        let entry = tables.backends.get(&id)?;
        let key = tables.service_by_id(entry.service)?.key;
        let service = self.config.services.iter().find(|s| service_key(s.address()) == key)?;
        let at = |b: &Backend| tables.backend_at(entry.service, b.socket().into()) == Some(id);
        let backend = self.overlay.backends(service).into_iter().find(at)?;
        Some((service, backend))
    }
}

/// What is said about a backend beside its configuration.
#[derive(Clone, Copy)]
struct Facts<'a> {
    slots: u32,
    check: Option<&'a Snapshot>,
    traffic: Traffic,
    /// See [`BackendReport::open_known_in_s`].
    known_in: Option<u64>,
}

fn service_state(backends: &[BackendReport]) -> ServiceState {
    let some = |state| backends.iter().any(|backend| backend.state == state);
    if backends.iter().all(|backend| backend.slots == 0) {
        ServiceState::Refusing
    } else if some(BackendState::LastKnownGood) {
        ServiceState::LastKnownGood
    } else if [BackendState::Down, BackendState::Checking, BackendState::Ejected]
        .into_iter()
        .any(some)
    {
        ServiceState::Degraded
    } else {
        ServiceState::Ok
    }
}
