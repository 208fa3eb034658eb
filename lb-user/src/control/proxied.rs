//! Services in the mode `mqtt`: what the proxies are told about them, and what they tell.

use std::collections::BTreeMap;

use lb_common::{backend::backend_flags::ACCEPT, counters::BackendCounters};

use super::{
    controller::Controller,
    datapath::DatapathError,
    desired::{PROXIED, service_key},
    error::ChangeError,
    overlay::CommandError,
    report::{Explanation, FlowFilter, FlowReport, Flows, ProxyReport},
};
use crate::{
    config::model::{Backend, Config, Policy, Service},
    load::{gauge::Reading, number},
    proxy::{
        Connection,
        spec::{BackendSpec, ServiceSpec, Snapshot, SourceLists},
        tls::Expiry,
    },
};

/// The services of `config` in the mode `mqtt`, in its order.
pub(super) fn specs(config: &Config) -> Vec<ServiceSpec> {
    let spec = |service: &Service| {
        Some(ServiceSpec {
            name: service.name.clone(),
            address: service.address(),
            settings: service.mqtt.clone()?,
            idle_timeout: service.idle_timeout,
            sessions_file: config.state_dir.join(format!("sessions-{}", service.name)),
            sources: SourceLists {
                own: service.sources.listed().collect(),
                of_all: config.sources.listed().collect(),
            },
        })
    };
    config.services.iter().filter_map(spec).collect()
}

impl Controller {
    /// The backends of the services in the mode `mqtt`, in the order of [`specs`].
    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
        self.proxied().map(|service| self.snapshot(service)).collect()
    }

    /// Tells the proxies which backends there are now.
    pub(super) fn publish(&self) {
        for service in self.proxied() {
            self.proxies.publish(service.address(), self.snapshot(service));
        }
    }

    fn proxied(&self) -> impl Iterator<Item = &Service> {
        self.config.services.iter().filter(|service| service.mode.is_proxied())
    }

    pub(super) fn snapshot(&self, service: &Service) -> Snapshot {
        let tables = self.applied.tables();
        let id = tables.services.get(&service_key(service.address())).map(|service| service.id);
        let serving = tables.serving();
        let spec = |backend: Backend| {
            let number = *serving.get(&(id?, backend.socket().into()))?;
            let entry = tables.backends.get(&number)?;
            Some(BackendSpec {
                id: number,
                address: backend.socket(),
                weight: backend.weight.value().into(),
                accepts: entry.flags & ACCEPT != 0,
                max_connections: backend.limits.or(service.limits).max_connections,
                name: backend.name,
            })
        };
        let backends = self.overlay.backends(service).into_iter().filter_map(spec).collect();
        Snapshot { seed: self.seed(&self.config), backends }
    }

    /// The counters of these backends, in this order, whoever counts them.
    pub(super) fn backend_counters(
        &self,
        ids: &[u32],
    ) -> Result<Vec<BackendCounters>, DatapathError> {
        let tables = self.applied.tables();
        let proxied =
            |id: &u32| tables.backends.get(id).is_some_and(|backend| backend.flags & PROXIED != 0);
        if !ids.iter().any(proxied) {
            return self.applied.datapath().backend_counters(ids);
        }
        let forwarded: Vec<u32> = ids.iter().copied().filter(|id| !proxied(id)).collect();
        let known = self.proxies.counters();
        let mut counted = self.applied.datapath().backend_counters(&forwarded)?.into_iter();
        let counters = ids.iter().map(|id| {
            let counters = if proxied(id) { known.get(id).copied() } else { counted.next() };
            counters.unwrap_or_default()
        });
        Ok(counters.collect())
    }

    /// What the proxies tell about a service; `None` if it is forwarded.
    pub(super) fn proxy_report(&self, service: &Service) -> Option<ProxyReport> {
        let settings = service.mqtt.as_ref()?;
        let seen = self.proxies.seen(service.address());
        Some(ProxyReport {
            policy: settings.policy,
            waiting: seen.waiting,
            refusals: seen.refusals.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            log_lost: seen.log_lost,
            certificates: earliest(&seen.expiries),
        })
    }

    /// Adds the connections in userspace that `filter` lets through.
    pub(super) fn proxied_flows(
        &self,
        filter: &FlowFilter,
        found: &mut Flows,
    ) -> Result<(), ChangeError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let wanted = |name: &str| filter.service.as_ref().is_none_or(|wanted| wanted == name);
        for service in self.proxied().filter(|service| wanted(service.name.as_str())) {
            self.known_backend(service, filter.backend.as_deref())?;
            self.proxies.visit(service.address(), |connection| {
                let backend = connection.backend.name.as_str();
                if filter.client.is_some_and(|client| client != connection.client.ip())
                    || filter.backend.as_ref().is_some_and(|wanted| wanted != backend)
                {
                    return;
                }
                found.count += 1;
                *found.by_backend.entry(format!("{}/{backend}", service.name)).or_default() += 1;
                if found.flows.len() < limit {
                    found.flows.push(flow_report(service, connection));
                }
            });
        }
        Ok(())
    }

    fn known_backend(&self, service: &Service, name: Option<&str>) -> Result<(), CommandError> {
        let Some(name) = name else { return Ok(()) };
        if self.overlay.backends(service).iter().any(|backend| backend.name == *name) {
            return Ok(());
        }
        Err(CommandError::NoBackend { service: service.name.clone(), backend: name.to_owned() })
    }

    /// Where a client of a service in the mode `mqtt` is, or would go.
    pub(super) fn explain_proxied(&self, answer: &mut Explanation, service: &Service) {
        let passes = passes_through(service);
        let decides = if passes { "the name asked for by TLS" } else { "the CONNECT" };
        answer.because(format!(
            "connections are accepted in userspace, and {decides} decides where they go"
        ));
        let mut live = None;
        self.proxies.visit(service.address(), |connection| {
            if connection.client == answer.client {
                live = Some(connection.clone());
            }
        });
        let Some(connection) = live else {
            self.explain_new(answer, service);
            return;
        };
        let backend = &connection.backend;
        let id = &connection.client_id;
        answer.because(match (connection.version, &connection.server_name) {
            (Some(_), _) => format!("there is a connection, with Client Identifier {id:?}"),
            (None, Some(name)) => format!("there is a connection, whose TLS asked for {name:?}"),
            (None, None) => "there is a connection, whose TLS asked for no name".into(),
        });
        answer.because(format!("{} was chosen: {}", backend.name, connection.why));
        answer.flow = Some(flow_report(service, &connection));
        answer.backend = Some(format!("{}/{}", service.name, backend.name));
        answer.broker = Some(backend.address);
    }

    fn explain_new(&self, answer: &mut Explanation, service: &Service) {
        let lists = specs(&self.config).into_iter().find(|spec| spec.name == service.name);
        if lists.is_some_and(|spec| spec.sources.deny(answer.client.ip())) {
            let client = answer.client.ip();
            answer.because(format!("{client} is denied: a new connection is closed at once"));
            return;
        }
        let snapshot = self.snapshot(service);
        let accepts: Vec<&str> = snapshot
            .backends
            .iter()
            .filter(|backend| backend.accepts)
            .map(|backend| backend.name.as_str())
            .collect();
        if accepts.is_empty() {
            let told = if passes_through(service) { "an alert" } else { "CONNACK" };
            answer.because(format!("no backend takes new connections: {told} says so"));
            return;
        }
        if passes_through(service) {
            answer.because("only backends on the route of its name are meant".into());
        }
        let policy = service.mqtt.as_ref().map_or("", |settings| policy_name(settings.policy));
        answer.because(format!(
            "there is no connection; a new one gets, by {policy}, one of {}",
            accepts.join(", ")
        ));
        self.explain_loads(answer, service, &snapshot);
    }

    /// Where loads count: what they are.
    fn explain_loads(&self, answer: &mut Explanation, service: &Service, snapshot: &Snapshot) {
        let readings = self.proxies.loads(service.address());
        for backend in snapshot.backends.iter().filter(|backend| backend.accepts) {
            let Some(Reading { load, last_error, .. }) = readings.get(&backend.id) else {
                continue;
            };
            let name = &backend.name;
            answer.because(match (load, last_error) {
                (Some(load), _) => format!("{name} has the load {}", number::short(*load)),
                (None, Some(error)) => {
                    format!("the load of {name} is not known, and counts as the mean: {error}")
                }
                (None, None) => format!("the load of {name} has not been read yet"),
            });
        }
    }
}

/// When each file ends; the first end of those that stand in it.
fn earliest(expiries: &[Expiry]) -> BTreeMap<String, i64> {
    let mut ends = BTreeMap::new();
    for Expiry { path, at } in expiries {
        let end = ends.entry(path.display().to_string()).or_insert(*at);
        *end = (*end).min(*at);
    }
    ends
}

fn passes_through(service: &Service) -> bool {
    service.mqtt.as_ref().is_some_and(|settings| !settings.tls_passthrough.is_empty())
}

const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "turns",
        Policy::RandomOfTwo => "the better of two",
        Policy::LeastConnections => "fewest connections",
        Policy::LeastLoad => "fewest connections for the load that brokers tell",
        Policy::Source => "a hash of its address",
        Policy::Hash => "a hash of what it says of itself",
        Policy::FillFirst => "their order, the first that is not full",
    }
}

fn flow_report(service: &Service, connection: &Connection) -> FlowReport {
    let (to_backend, to_client) = connection.bytes();
    FlowReport {
        client: connection.client,
        service: Some(service.name.clone()),
        backend: Some(connection.backend.name.clone()),
        source: Some(connection.source),
        closed: false,
        idle_s: connection.idle().as_secs(),
        idle_timeout_s: connection.idle_timeout.as_secs(),
        client_id: connection.version.map(|_| connection.client_id.to_string()),
        server_name: connection.server_name.as_deref().map(str::to_owned),
        username: connection.username.as_deref().map(str::to_owned),
        bytes: Some((to_backend, to_client)),
    }
}
