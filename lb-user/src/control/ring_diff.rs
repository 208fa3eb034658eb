//! What a change would move, without making it.

mod report;

use std::collections::BTreeMap;

use lb_common::{
    backend::backend_flags::FORWARD,
    flow::{Flow, FlowKey},
    ring::{Ring, SLOTS, slot_of},
    service::{Service, ServiceKey},
};

pub use report::{
    BackendMoves, ConnectionMoves, RingChange, RingCommand, RingDiffReport, ServiceMoves,
};

use super::{
    commands::frozen,
    controller::Controller,
    datapath::DatapathError,
    desired::{Desired, service_key},
    difference::{differences, effective},
    error::ChangeError,
    flows::{Names, names},
    layout,
    members::Health,
    overlay::Overlay,
    tables::{RingSpec, Tables},
};
use crate::{
    config::{
        self,
        model::{Backend, Config, LoadLimits, Mode, Name, Weight},
    },
    ring::{self, diff::RingDiff},
};

impl Controller {
    /// What `change` would move, if it were made now.
    pub fn ring_diff(&self, change: &RingChange) -> Result<RingDiffReport, ChangeError> {
        let (config, overlay) = self.changed(change)?;
        let desired = Desired::new(&config, &overlay, self.seed(&config));
        let (now, tick) = (self.applied.tables(), self.now());
        let then = layout::tables(now, &desired, &self.health, tick)?;
        // A backend that comes takes its slots when its first checks have succeeded.
        let mut health: Health = self.health.clone();
        let known = now.serving();
        let new = then.serving().into_iter().filter(|(at, _)| !known.contains_key(at));
        let news = new.filter(|(_, id)| health.note(*id, true, tick)).count();
        let then = layout::tables(now, &desired, &health, tick)?;
        let mut compared = self.compare(&config, &then);
        self.count_connections(&mut compared, &then)?;
        let names = (self.names(), names(&config, &overlay, &then));
        let report = |compared: Compared| compared.report(&names, &then);
        let mut notes = Vec::new();
        let frozen = frozen(&differences(&effective(&self.config, &self.overlay), &config));
        if !frozen.is_empty() && change.commands.is_empty() {
            notes.push(format!("a reload would refuse this file: {}", frozen.join(", ")));
        }
        if news > 0 {
            notes.push("new backends are counted as if they were up".to_owned());
        }
        Ok(RingDiffReport { services: compared.into_iter().filter_map(report).collect(), notes })
    }

    /// The configuration and the changes by command after `change`.
    fn changed(&self, change: &RingChange) -> Result<(Config, Overlay), ChangeError> {
        if let Some(text) = &change.file {
            let config = config::parse(text).map_err(ChangeError::Config)?;
            let overlay = self.overlay.after_reload(&config.services);
            return Ok((config, overlay));
        }
        if change.commands.is_empty() {
            let config = config::load(&self.file).map_err(ChangeError::Config)?;
            let overlay = self.overlay.after_reload(&config.services);
            return Ok((config, overlay));
        }
        let mut overlay = self.overlay.clone();
        for command in &change.commands {
            self.command_to(&mut overlay, command)?;
        }
        Ok((self.config.clone(), overlay))
    }

    fn command_to(&self, overlay: &mut Overlay, command: &RingCommand) -> Result<(), ChangeError> {
        match command {
            RingCommand::Add { service, name, address, port, weight } => {
                let known = self.service(service)?;
                let new = Backend {
                    name: name.clone(),
                    address: *address,
                    port: port.unwrap_or(known.port),
                    weight: weight.unwrap_or(Weight::DEFAULT),
                    limits: LoadLimits::default(),
                };
                self.add_to(overlay, known, &new)?;
            }
            RingCommand::Weight { service, name, weight } => {
                overlay.weigh(self.service(service)?, name, *weight)?;
            }
            RingCommand::Drain { service, name } => {
                overlay.drain(self.service(service)?, name, true)?;
            }
            RingCommand::Undrain { service, name } => {
                overlay.drain(self.service(service)?, name, false)?;
            }
            RingCommand::Remove { service, name } => {
                overlay.remove(self.service(service)?, name)?;
            }
        }
        Ok(())
    }

    /// Both sides of each service that is or would be there.
    fn compare(&self, config: &Config, then: &Tables) -> Vec<Compared> {
        let now = self.applied.tables();
        let mut compared: Vec<Compared> = Vec::new();
        for service in config.services.iter().chain(&self.config.services) {
            let key = service_key(service.address());
            if compared.iter().all(|one| one.key != key) {
                let side = |tables: &Tables| Some(Side::of(tables, tables.services.get(&key)?));
                compared.push(Compared {
                    key,
                    name: service.name.clone(),
                    mode: service.mode,
                    before: side(now),
                    after: side(then),
                    connections: ConnectionMoves {
                        complete: !service.mode.is_direct(),
                        ..ConnectionMoves::default()
                    },
                    by_backend: BTreeMap::new(),
                });
            }
        }
        compared
    }

    fn count_connections(
        &self,
        compared: &mut [Compared],
        then: &Tables,
    ) -> Result<(), DatapathError> {
        let stays = |id| then.backends.get(&id).is_some_and(|backend| backend.flags & FORWARD != 0);
        let mut by_id: BTreeMap<u32, &mut Compared> = compared
            .iter_mut()
            .filter_map(|one| Some((one.before.as_ref()?.service.id, one)))
            .collect();
        self.applied.datapath().flows(&mut |key, flow| {
            if let Some(one) = by_id.get_mut(&key.service).filter(|_| !flow.is_closed()) {
                one.count(key, flow, stays(flow.backend()));
            }
        })
    }
}

/// A service before and after a change.
struct Compared {
    key: ServiceKey,
    name: Name,
    mode: Mode,
    /// `None` if it would be new.
    before: Option<Side>,
    /// `None` if it would be removed.
    after: Option<Side>,
    connections: ConnectionMoves,
    by_backend: BTreeMap<u32, u64>,
}

/// One side of it.
struct Side {
    service: Service,
    ring: Box<Ring>,
}

impl Side {
    fn of(tables: &Tables, service: &Service) -> Self {
        let spec = tables.rings.get(&service.id);
        Self { service: *service, ring: spec.map_or_else(ring::empty, RingSpec::ring) }
    }

    /// Where a new connection like this one goes.
    fn owner(&self, key: &FlowKey) -> u32 {
        let slot = slot_of(self.service.flow_hash(key.client, key.port));
        self.ring[slot as usize].current()
    }
}

impl Compared {
    fn count(&mut self, key: &FlowKey, flow: &Flow, stays: bool) {
        self.connections.known += 1;
        *self.by_backend.entry(flow.backend()).or_default() += 1;
        let owner = |side: &Option<Side>| side.as_ref().map(|side| side.owner(key));
        if !stays {
            self.connections.reset += 1;
        } else if owner(&self.before) != owner(&self.after) {
            self.connections.on_moved_slots += 1;
        }
    }

    /// What is said about it; `None` if nothing would move.
    fn report(self, names: &(Names, Names), then: &Tables) -> Option<ServiceMoves> {
        let ring = |side: Option<Side>| side.map_or_else(ring::empty, |side| side.ring);
        let [now_id, then_id] =
            [&self.before, &self.after].map(|side| side.as_ref().map(|side| side.service.id));
        let diff = RingDiff::between(&ring(self.before)[..], &ring(self.after)[..]);
        let gone = |id: u32| then.backends.get(&id).is_none_or(|b| b.flags & FORWARD == 0);
        let mut backends = Vec::new();
        let of_this = |id: &u32| {
            let service = then.backends.get(id).map(|backend| backend.service);
            service.is_some() && (service == now_id || service == then_id)
        };
        for (id, name) in names.1.1.iter().chain(names.0.1.iter().filter(|(id, _)| gone(**id))) {
            if of_this(id) {
                backends.push(BackendMoves {
                    name: name.clone(),
                    slots_before: diff.before(*id),
                    slots_after: diff.after(*id),
                    gains: diff.gained(*id),
                    loses: diff.lost(*id),
                    connections: self.by_backend.get(id).copied().unwrap_or_default(),
                    removed: gone(*id),
                });
            }
        }
        let removes = backends.iter().any(|backend| backend.removed);
        (diff.moved() > 0 || removes).then_some(ServiceMoves {
            service: self.name,
            mode: self.mode,
            slots: SLOTS as u32,
            moved: diff.moved(),
            backends,
            connections: self.connections,
        })
    }
}

#[cfg(test)]
mod tests;
