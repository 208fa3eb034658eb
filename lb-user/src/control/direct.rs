//! The services whose brokers answer directly, as the collection needs to know them.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::{
    flow::FlowKey,
    ring::{Slot, slot_of},
    service::Service,
};

use super::tables::Tables;
use crate::ring::transition::Slots;

/// Their rings, by service.
#[derive(Clone, Debug, Default)]
pub struct DirectRings(BTreeMap<u32, DirectRing>);

#[derive(Clone, Debug)]
struct DirectRing {
    service: Service,
    slots: Arc<Slots>,
}

impl DirectRings {
    /// The rings in `tables`.
    #[must_use]
    pub fn of(tables: &Tables) -> Self {
        let rings = tables.services.values().filter_map(|service| {
            let slots = tables.rings.get(&service.id)?.slots.clone()?;
            let ring = DirectRing { service: *service, slots };
            Some((service.id, ring))
        });
        Self(rings.collect())
    }

    /// The slot of a flow; `None` if its service is none of these.
    #[must_use]
    pub fn place(&self, key: &FlowKey) -> Option<(u32, Slot)> {
        let ring = self.0.get(&key.service)?;
        let number = slot_of(ring.service.flow_hash(key.client, key.port));
        Some((number, *ring.slots.ring().get(number as usize)?))
    }
}
