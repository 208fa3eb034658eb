//! From what should be to the contents of the tables: gives out the numbers.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use lb_common::{
    backend::{
        Backend, MAX_SOURCES,
        backend_flags::{ACCEPT, DIRECT, FORWARD, LIMITED, PRESENT},
    },
    hash::Seed,
    layout::sizes,
    service::Service,
};

use super::{
    admission,
    desired::{
        Desired, DesiredBackend, DesiredService, Endpoint, MODE_PROXIED, PROXIED, is_direct,
    },
    members::{self, Health, Standing},
    tables::{Broker, RingSpec, Tables},
};
use crate::{
    config::model::Name,
    ring::{self, Member, transition::Slots},
};

/// Why the tables cannot hold what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// More services than the tables hold.
    #[error("more services than the {limit} that the tables hold")]
    TooManyServices {
        /// The most there can be.
        limit: u32,
    },
    /// More backends than the tables hold.
    #[error("more backends than limits.backends = {limit} allows")]
    TooManyBackends {
        /// The most there can be.
        limit: u32,
    },
    /// The source ports were changed.
    #[error("nat.ports cannot change while connections use them ({before}, now {after})")]
    PortsChanged {
        /// The range that is in use.
        before: String,
        /// The range that is asked for.
        after: String,
    },
    /// The key of the flow hash was changed.
    #[error("seed cannot change while a service's brokers answer directly")]
    SeedChanged,
    /// Which clients share a slot was changed.
    #[error("affinity of {service} cannot change while its brokers answer directly")]
    AffinityChanged {
        /// The service.
        service: Name,
    },
    /// Source addresses were removed or reordered.
    #[error("nat.addresses cannot lose {0}, or move it in the list, while connections use it")]
    SourceMoved(std::net::IpAddr),
}

impl LayoutError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooManyServices { .. } => "spread the services over several balancers",
            Self::TooManyBackends { .. } => {
                "raise limits.backends, `mqlb detach` (this ends all connections) and start again"
            }
            Self::PortsChanged { .. } => {
                "`mqlb detach` (this ends all connections) and start again with the new range"
            }
            Self::SeedChanged => {
                "put it back: with another one, connections that nobody tracks would go to other \
                 brokers; or `mqlb detach` (this ends all connections) and start again"
            }
            Self::AffinityChanged { .. } => {
                "put it back: with another one, connections that nobody tracks would go to other \
                 brokers; or remove the service and add it again (this ends its connections)"
            }
            Self::SourceMoved(_) => {
                "append new addresses after those of their family (an IPv4 address only while \
                 there is no IPv6 address), or `mqlb detach` (this ends all connections) and start \
                 again"
            }
        }
    }
}

/// The tables as `desired` and `health` ask for.///
/// What was in `old` and stays keeps its number. Backends that are not wanted any more stay, but
/// refuse their flows, and so do the peers of their brokers: see [`Tables::without_remains`].
pub fn tables(
    old: &Tables,
    desired: &Desired,
    health: &Health,
    now: u32,
) -> Result<Tables, LayoutError> {
    check_sources(old, desired)?;
    let mut new = Tables {
        settings: Some(desired.settings),
        sources: desired.sources.clone(),
        backends: old.backends.iter().map(|(id, b)| (*id, gone(b))).collect(),
        brokers: old.brokers.clone(),
        next: old.next,
        ..Tables::default()
    };
    admission::list_for_all(&mut new, desired);
    let known = old.serving();
    let mut taken = new.brokers.values().map(|broker| broker.first_peer / MAX_SOURCES).collect();
    for service in &desired.services {
        let id = service_id(old, &mut new, service, desired.seed())?;
        if service.mode != MODE_PROXIED {
            admission::admit(&mut new, desired, service, id);
        }
        let direct = is_direct(service.mode);
        let mut backends = Vec::with_capacity(service.backends.len());
        let dead = dead(service, health, now, |backend| known.get(&(id, backend)).copied());
        for backend in &service.backends {
            let limit = desired.max_backends;
            let mut entry = entry(backend, id);
            if direct {
                entry.flags |= DIRECT;
            } else if service.mode == MODE_PROXIED {
                entry.flags |= PROXIED;
            } else {
                entry.first_peer = first_peer(&mut new, &mut taken, backend.endpoint, limit)?;
            }
            // One that is dead gets another number, and its flows go with the old one.
            let known = known.get(&(id, backend.endpoint)).filter(|id| !dead.contains(id));
            let number = known.copied().map_or_else(|| free_backend(&mut new, limit), Ok)?;
            if let Some(limits) = admission::load_limits(service, backend, number, health, now) {
                entry.flags |= LIMITED;
                new.load_limits.insert(number, limits);
            }
            new.backends.insert(number, entry);
            backends.push((number, backend));
        }
        let mut ring = ring(service, &backends, desired, health);
        if direct {
            ring.slots = Some(slots(old, &new, id, &ring, &backends, now));
        }
        for member in &ring.members {
            new.backends.entry(member.id).and_modify(|backend| backend.flags |= ACCEPT);
        }
        new.rings.insert(id, ring);
    }
    new.peers = new.peers_of_brokers();
    Ok(new)
}

/// Source ports and addresses have a meaning in every flow: what flows may use must not move.
fn check_sources(old: &Tables, desired: &Desired) -> Result<(), LayoutError> {
    let Some(before) = old.settings else { return Ok(()) };
    let after = desired.settings;
    if (before.first_port, before.ports) != (after.first_port, after.ports) {
        let range = |s: lb_common::settings::Settings| {
            format!("{}-{}", s.first_port, u32::from(s.first_port) + u32::from(s.ports) - 1)
        };
        return Err(LayoutError::PortsChanged { before: range(before), after: range(after) });
    }
    let direct = old.rings.values().any(|spec| spec.slots.is_some());
    let seed = |s: lb_common::settings::Settings| (s.seed0, s.seed1);
    if direct && seed(before) != (0, 0) && seed(before) != seed(after) {
        return Err(LayoutError::SeedChanged);
    }
    let in_use = usize::from(before.sources_v4) + usize::from(before.sources_v6);
    let mut pairs = old.sources.iter().take(in_use).enumerate();
    let moved = pairs.find(|(number, source)| desired.sources.get(*number) != Some(source));
    moved.map_or(Ok(()), |(_, source)| Err(LayoutError::SourceMoved((*source).into())))
}

fn gone(backend: &Backend) -> Backend {
    Backend { flags: backend.flags & (PRESENT | DIRECT | PROXIED), ..*backend }
}

/// The numbers of the backends of a service that have been down for too long. None while no other
/// one is up: nobody could take the connections.
pub(super) fn dead(
    service: &DesiredService,
    health: &Health,
    now: u32,
    number: impl Fn(Endpoint) -> Option<u32>,
) -> BTreeSet<u32> {
    let Some(limit) = service.dead_ticks.filter(|_| service.checked) else {
        return BTreeSet::new();
    };
    let known = || {
        let open = service.backends.iter();
        open.filter_map(|backend| Some((number(backend.endpoint)?, backend)))
    };
    let takes =
        |(id, backend): (u32, &DesiredBackend)| !backend.drained && health.of(id) == Standing::Up;
    if !known().any(takes) {
        return BTreeSet::new();
    }
    known().map(|(id, _)| id).filter(|id| health.is_down_for(*id, limit, now)).collect()
}

/// The slots of the service with this id, whose brokers answer directly.
///
/// They begin with the owners that the configuration alone would give them, which every balancer of
/// a fleet agrees on; health moves only where new flows go.
fn slots(
    old: &Tables,
    new: &Tables,
    service: u32,
    spec: &RingSpec,
    backends: &[(u32, &DesiredBackend)],
    now: u32,
) -> Arc<Slots> {
    let stays = |id| new.backends.get(&id).is_some_and(|backend| backend.flags & FORWARD != 0);
    let before = old.rings.get(&service).and_then(|spec| Some((spec, spec.slots.as_ref()?)));
    if let Some((before, slots)) = before
        && (before.seed, &before.members) == (spec.seed, &spec.members)
        && old.backends.iter().all(|(id, b)| b.service != service || stays(*id))
    {
        return Arc::clone(slots);
    }
    let target = ring::build(&spec.members, spec.seed);
    let slots = before.map_or_else(
        || {
            let open = backends.iter().filter(|(_, backend)| !backend.drained);
            let members: Vec<Member> = open.map(|(id, backend)| member(*id, backend)).collect();
            Slots::beginning(ring::build(&members, spec.seed)).lead_to(&target, stays, now)
        },
        |(_, slots)| slots.lead_to(&target, stays, now),
    );
    Arc::new(slots)
}

fn member(id: u32, backend: &DesiredBackend) -> Member {
    let Endpoint { address, port } = backend.endpoint;
    Member { address, port, weight: backend.weight, id }
}

fn entry(backend: &DesiredBackend, service: u32) -> Backend {
    Backend {
        address: backend.endpoint.address,
        port: backend.endpoint.port.to_be_bytes(),
        flags: PRESENT | FORWARD,
        service,
        first_peer: 0,
        pad: 0,
    }
}

fn service_id(
    old: &Tables,
    new: &mut Tables,
    service: &DesiredService,
    seed: Seed,
) -> Result<u32, LayoutError> {
    let limit = sizes::SERVICES as u32;
    // Flows of one way of forwarding make no sense to the other: then it is another service.
    let way = |mode| (is_direct(mode), mode == MODE_PROXIED);
    let same = |known: &&Service| way(known.mode) == way(service.mode);
    let id = if let Some(known) = old.services.get(&service.key).filter(same) {
        if is_direct(known.mode) && known.affinity != service.affinity {
            return Err(LayoutError::AffinityChanged { service: service.name.clone() });
        }
        known.id
    } else {
        // The flows of a service that was removed may still be there until its backends are gone.
        let taken = old.services.values().map(|service| service.id);
        let taken = taken.chain(new.services.values().map(|service| service.id));
        let taken = taken.chain(new.backends.values().map(|backend| backend.service));
        let taken: BTreeSet<u32> = taken.collect();
        free(|id| taken.contains(&id), 0..limit, &mut new.next.service)
            .ok_or(LayoutError::TooManyServices { limit })?
    };
    let DesiredService { key, idle_ticks, mode, flags, affinity, .. } = *service;
    let hash_key = key.hash_key(seed);
    let pad = [0; 6];
    let service = Service { key, id, idle_ticks, mode, flags, pad, affinity, hash_key };
    new.services.insert(key, service);
    Ok(id)
}

fn free_backend(new: &mut Tables, limit: u32) -> Result<u32, LayoutError> {
    // 0 is no backend: that is what a table that was never written says.
    free(|id| new.backends.contains_key(&id), 1..limit.saturating_add(1), &mut new.next.backend)
        .ok_or(LayoutError::TooManyBackends { limit })
}

/// The peer number of `broker` with source 0; `taken` are the multiples that are in use.
fn first_peer(
    new: &mut Tables,
    taken: &mut BTreeSet<u32>,
    broker: Endpoint,
    limit: u32,
) -> Result<u32, LayoutError> {
    if let Some(known) = new.brokers.get_mut(&broker) {
        known.idle_since = None;
        return Ok(known.first_peer);
    }
    let number = free(|number| taken.contains(&number), 0..limit, &mut new.next.broker)
        .ok_or(LayoutError::TooManyBackends { limit })?;
    taken.insert(number);
    let first_peer = number * MAX_SOURCES;
    new.brokers.insert(broker, Broker { first_peer, idle_since: None });
    Ok(first_peer)
}

/// The first number of `range` that is not taken, searched from `next` on and round.
fn free(taken: impl Fn(u32) -> bool, range: Range<u32>, next: &mut u32) -> Option<u32> {
    let from = (*next).clamp(range.start, range.end);
    let found = (from..range.end).chain(range.start..from).find(|id| !taken(*id))?;
    *next = found + 1;
    Some(found)
}

fn ring(
    service: &DesiredService,
    backends: &[(u32, &DesiredBackend)],
    desired: &Desired,
    health: &Health,
) -> RingSpec {
    let accepting = members::accepting(service, backends, health).into_iter();
    let mut members: Vec<Member> = accepting.map(|(id, backend)| member(id, backend)).collect();
    members.sort_unstable();
    RingSpec { seed: desired.seed(), members, slots: None }
}
