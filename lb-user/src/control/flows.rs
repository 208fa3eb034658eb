//! Answers about the connection table.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{
    addr::Addr,
    flow::{Flow, FlowKey},
    ticks,
};

use super::{
    controller::Controller,
    desired::service_key,
    error::ChangeError,
    overlay::{CommandError, Overlay},
    report::{FlowFilter, FlowReport, Flows},
    tables::Tables,
};
use crate::config::model::{Backend, Config, Name};

/// Names of services and of backends, by number.
pub(super) type Names = (BTreeMap<u32, Name>, BTreeMap<u32, Name>);

/// Names of the services and of the backends that are there, by number.
pub(super) fn names(config: &Config, overlay: &Overlay, tables: &Tables) -> Names {
    let serving = tables.serving();
    let mut names = Names::default();
    for service in &config.services {
        let Some(entry) = tables.services.get(&service_key(service.address())) else {
            continue;
        };
        names.0.insert(entry.id, service.name.clone());
        for backend in overlay.backends(service) {
            let id = serving.get(&(entry.id, backend.socket().into()));
            names.1.extend(id.map(|id| (*id, backend.name)));
        }
    }
    names
}

impl Controller {
    /// The flows that `filter` lets through.
    pub fn flows(&self, filter: &FlowFilter) -> Result<Flows, ChangeError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let (service, backend) = self.filtered_ids(filter)?;
        let client = filter.client.map(Addr::from);
        let mut found = Flows::default();
        let mut by_id: BTreeMap<u32, u64> = BTreeMap::new();
        let mut listed = Vec::new();
        self.applied.datapath().flows(&mut |key, flow| {
            let wanted = service.is_none_or(|id| id == key.service)
                && backend.is_none_or(|id| id == flow.backend())
                && client.is_none_or(|address| address == key.client);
            if wanted {
                *by_id.entry(flow.backend()).or_default() += 1;
                if listed.len() < limit {
                    listed.push((*key, *flow));
                }
            }
        })?;
        found.count = by_id.values().sum();
        for (id, count) in by_id {
            *found.by_backend.entry(self.name_of(id)).or_default() += count;
        }
        let names = self.names();
        found.flows =
            listed.iter().map(|(key, flow)| self.flow_report(&names, key, flow)).collect();
        self.proxied_flows(filter, &mut found)?;
        Ok(found)
    }

    fn filtered_ids(&self, filter: &FlowFilter) -> Result<(Option<u32>, Option<u32>), ChangeError> {
        let Some(name) = &filter.service else { return Ok((None, None)) };
        let service = self.service(name)?;
        let tables = self.applied.tables();
        let id = tables.services.get(&service_key(service.address())).map(|service| service.id);
        let Some(backend) = &filter.backend else { return Ok((id, None)) };
        let backends = self.overlay.backends(service);
        let socket = backends.iter().find(|b| b.name == **backend).map(Backend::socket);
        let number = id.zip(socket).and_then(|(id, at)| tables.backend_at(id, at.into()));
        let missing =
            || CommandError::NoBackend { service: service.name.clone(), backend: backend.clone() };
        Ok((id, Some(number.ok_or_else(missing)?)))
    }

    /// Names of the services and of the backends that are there, by number.
    pub(super) fn names(&self) -> Names {
        names(&self.config, &self.overlay, self.applied.tables())
    }

    pub(super) fn flow_report(&self, names: &Names, key: &FlowKey, flow: &Flow) -> FlowReport {
        let source = self.applied.tables().sources.get(usize::from(flow.source));
        let port = u16::from_be_bytes(flow.nat_port);
        let closed_ticks = self.applied.tables().settings.map(|settings| settings.closed_ticks);
        let timeout = closed_ticks.filter(|_| flow.is_closed()).unwrap_or(flow.idle_ticks);
        let idle = ticks::age(self.now(), flow.last_seen);
        FlowReport {
            client: SocketAddr::new(key.client.into(), u16::from_be_bytes(key.port)),
            service: names.0.get(&key.service).cloned(),
            backend: names.1.get(&flow.backend()).cloned(),
            source: source.map(|source| SocketAddr::new((*source).into(), port)),
            closed: flow.is_closed(),
            idle_s: ticks::to_duration(idle).as_secs(),
            idle_timeout_s: ticks::to_duration(timeout).as_secs(),
            client_id: None,
            username: None,
            server_name: None,
            bytes: None,
        }
    }
}
