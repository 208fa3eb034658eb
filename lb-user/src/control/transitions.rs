//! Moves the slots of services whose brokers answer directly on, step by step, long after the
//! change that brought them into transition.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{hash::Seed, service::Service, settings::Settings, ticks};

use super::{
    controller::Controller,
    datapath::{Datapath, DatapathError},
    desired::{Desired, DesiredService, is_direct},
    tables::{RingSpec, Tables},
};
use crate::{
    config::model::Service as ConfiguredService,
    ring::transition::{Pace, SlotSet, Slots},
};

/// Takes the slots over as they are in the data plane.
pub(super) fn read_back(
    tables: &mut Tables,
    datapath: &dyn Datapath,
    now: u32,
) -> Result<(), DatapathError> {
    for service in tables.services.values().filter(|service| is_direct(service.mode)) {
        let Some(ring) = datapath.ring(service.id)? else { continue };
        let slots = Some(Arc::new(Slots::read_back(ring, now)));
        tables.rings.insert(service.id, RingSpec { seed: Seed(0, 0), members: vec![], slots });
    }
    Ok(())
}

impl ConfiguredService {
    /// How long its slots stay in transition, where handshakes are remembered for `pending`.
    #[must_use]
    pub fn pace(&self, pending: Duration) -> Pace {
        let [idle, pending, rebase] =
            [self.idle_timeout, pending, self.rebase_after].map(ticks::from_duration);
        pace(idle, pending, rebase)
    }
}

impl DesiredService {
    /// How long its slots stay in transition.
    #[must_use]
    pub fn pace(&self, settings: &Settings) -> Pace {
        pace(self.idle_ticks, settings.pending_ticks, self.rebase_ticks)
    }
}

fn pace(idle: u32, pending: u32, rebase_after: u32) -> Pace {
    // While its handshake is remembered, a flow is not learned.
    Pace { horizon: idle.saturating_add(pending.min(idle)), rebase_after }
}

impl Controller {
    /// What is due after a whole sweep of the tables found these slots `occupied`.
    pub(super) fn move_on(&mut self, occupied: &BTreeMap<u32, SlotSet>) {
        let desired = self.desired();
        let mut target = self.applied.tables().clone();
        let serving = target.serving();
        let mut begun = Vec::new();
        for service in &desired.services {
            let Some(Service { id, .. }) = target.services.get(&service.key).copied() else {
                continue;
            };
            let slots = target.rings.get_mut(&id).and_then(|spec| spec.slots.as_mut());
            let Some(slots) = slots.filter(|slots| !slots.rests()) else { continue };
            let drained = service.backends.iter().filter(|backend| backend.drained);
            let drained: Vec<u32> =
                drained.filter_map(|b| serving.get(&(id, b.endpoint)).copied()).collect();
            let none = SlotSet::default();
            let settled = slots.settle(occupied.get(&id).unwrap_or(&none));
            let missed = self.applied.datapath().missed(id);
            let drains = |base| drained.contains(&base);
            let pace = service.pace(&desired.settings);
            let (next, begins) = settled.advance(pace, drains, &missed, self.now());
            if next != **slots {
                *slots = Arc::new(next);
                begun.push((id, begins));
            }
        }
        if begun.is_empty() {
            return;
        }
        match self.applied.change(&target, self.now()) {
            Ok(edits) => tracing::debug!(edits, "slots moved on"),
            // Then they have not begun anew, and what they missed must not be forgotten.
            Err(error) => return tracing::error!(%error, "slots could not move on"),
        }
        for (service, slots) in &begun {
            self.applied.datapath_mut().clear_missed(*service, slots);
        }
    }

    /// What the tables should say now.
    pub(super) fn desired(&self) -> Desired {
        Desired::new(&self.config, &self.overlay, self.seed(&self.config))
    }
}
