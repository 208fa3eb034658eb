//! From what should be to the contents of the tables: gives out the numbers.

use std::{collections::BTreeSet, ops::Range};

use lb_common::{
    backend::{
        Backend, MAX_SOURCES,
        backend_flags::{ACCEPT, FORWARD, PRESENT},
    },
    layout::sizes,
    service::Service,
};

use super::{
    desired::{Desired, DesiredBackend, DesiredService, Endpoint},
    members::{self, Health},
    tables::{Broker, RingSpec, Tables},
};
use crate::ring::Member;

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
pub fn tables(old: &Tables, desired: &Desired, health: &Health) -> Result<Tables, LayoutError> {
    check_sources(old, desired)?;
    let mut new = Tables {
        settings: Some(desired.settings),
        sources: desired.sources.clone(),
        backends: old.backends.iter().map(|(id, b)| (*id, gone(b))).collect(),
        brokers: old.brokers.clone(),
        next: old.next,
        ..Tables::default()
    };
    let known = old.serving();
    let mut taken = new.brokers.values().map(|broker| broker.first_peer / MAX_SOURCES).collect();
    for service in &desired.services {
        let id = service_id(old, &mut new, service)?;
        let mut backends = Vec::with_capacity(service.backends.len());
        for backend in &service.backends {
            let limit = desired.max_backends;
            let first_peer = first_peer(&mut new, &mut taken, backend.endpoint, limit)?;
            let known = known.get(&(id, backend.endpoint)).copied();
            let number = known.map_or_else(|| free_backend(&mut new, limit), Ok)?;
            new.backends.insert(number, entry(backend, id, first_peer));
            backends.push((number, backend));
        }
        let ring = ring(service, &backends, desired, health);
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
    let in_use = usize::from(before.sources_v4) + usize::from(before.sources_v6);
    let mut pairs = old.sources.iter().take(in_use).enumerate();
    let moved = pairs.find(|(number, source)| desired.sources.get(*number) != Some(source));
    moved.map_or(Ok(()), |(_, source)| Err(LayoutError::SourceMoved((*source).into())))
}

fn gone(backend: &Backend) -> Backend {
    Backend { flags: PRESENT, ..*backend }
}

fn entry(backend: &DesiredBackend, service: u32, first_peer: u32) -> Backend {
    Backend {
        address: backend.endpoint.address,
        port: backend.endpoint.port.to_be_bytes(),
        flags: PRESENT | FORWARD,
        service,
        first_peer,
        pad: 0,
    }
}

fn service_id(
    old: &Tables,
    new: &mut Tables,
    service: &DesiredService,
) -> Result<u32, LayoutError> {
    let limit = sizes::SERVICES as u32;
    let id = if let Some(known) = old.services.get(&service.key) {
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
    let DesiredService { key, idle_ticks, mode, flags, .. } = *service;
    new.services.insert(key, Service { key, id, idle_ticks, mode, flags, pad: [0; 6] });
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
    let mut members: Vec<Member> = accepting
        .map(|(id, backend)| {
            let Endpoint { address, port } = backend.endpoint;
            Member { address, port, weight: backend.weight, id }
        })
        .collect();
    members.sort_unstable();
    RingSpec { seed: desired.seed(), members }
}
