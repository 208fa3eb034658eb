//! What the tables of the data plane hold, as far as the controller writes them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lb_common::{
    addr::Addr,
    admission::{Admission, ListKey, Listed},
    backend::{Backend, PeerKey, backend_flags::FORWARD},
    hash::Seed,
    load::LoadLimits,
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    ticks,
};

use super::{
    datapath::Edit,
    desired::{Endpoint, MODE_PROXIED, PROXIED},
};
use crate::ring::{self, Member, transition::Slots};

/// The contents of the tables, and which numbers are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// The settings; `None` before they were written for the first time.
    pub settings: Option<Settings>,
    /// Source addresses by number.
    pub sources: Vec<Addr>,
    /// Services by key.
    pub services: BTreeMap<ServiceKey, Service>,
    /// What the rings are made of, by service id.
    pub rings: BTreeMap<u32, RingSpec>,
    /// Backends by id. One without [`FORWARD`] has been removed and waits for its purge.
    pub backends: BTreeMap<u32, Backend>,
    /// What new connections must pass, by service id.
    pub admissions: BTreeMap<u32, Admission>,
    /// Lists of sources.
    pub lists: BTreeMap<ListKey, Listed>,
    /// What backends may take, by id.
    pub load_limits: BTreeMap<u32, LoadLimits>,
    /// Peers by key.
    pub peers: BTreeMap<PeerKey, u32>,
    /// Which peer numbers belong to a broker.
    pub brokers: BTreeMap<Endpoint, Broker>,
    /// Where the search for free numbers begins.
    pub next: NextIds,
}

/// What a ring is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// Key of the permutations.
    pub seed: Seed,
    /// The backends that take new connections, sorted.
    pub members: Vec<Member>,
    /// The slots of a service whose brokers answer directly: they depend on those before.
    pub slots: Option<Arc<Slots>>,
}

impl RingSpec {
    /// The ring itself.
    #[must_use]
    pub fn ring(&self) -> Box<Ring> {
        let built = || ring::build(&self.members, self.seed);
        self.slots.as_ref().map_or_else(built, |slots| slots.to_ring())
    }

    /// Whether `other` is the same ring. The slots may have been in transition for another time.
    #[must_use]
    pub fn is_same_ring(&self, other: &Self) -> bool {
        let [mine, others] = [self, other].map(|spec| spec.slots.as_deref().map(Slots::ring));
        (self.seed, &self.members) == (other.seed, &other.members) && mine == others
    }
}

/// The peer numbers of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its peer with source 0.
    pub first_peer: u32,
    /// The tick since when no backend has this address and port. Its source ports rest, so its
    /// peers stay for that time.
    pub idle_since: Option<u32>,
}

/// Where the search for free numbers begins: freed ones are used again as late as possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextIds {
    /// Services.
    pub service: u32,
    /// Backends.
    pub backend: u32,
    /// Brokers: `first_peer` divided by its stride.
    pub broker: u32,
}

impl Tables {
    /// The number of the backend of `service` at `endpoint`, unless it was removed.
    #[must_use]
    pub fn backend_at(&self, service: u32, endpoint: Endpoint) -> Option<u32> {
        let found = self.backends.iter().find(|(_, backend)| {
            backend.service == service
                && Endpoint::of(backend) == endpoint
                && backend.flags & FORWARD != 0
        });
        found.map(|(id, _)| *id)
    }

    /// The numbers of all backends that were not removed, by service and broker.
    #[must_use]
    pub fn serving(&self) -> HashMap<(u32, Endpoint), u32> {
        let kept = self.backends.iter().filter(|(_, backend)| backend.flags & FORWARD != 0);
        kept.map(|(id, backend)| ((backend.service, Endpoint::of(backend)), *id)).collect()
    }

    /// Whether `other` uses the same numbers for the same things: then the next controller needs
    /// to know nothing new before the tables become those of `other`.
    #[must_use]
    pub fn has_numbers_of(&self, other: &Self) -> bool {
        let known = |backend: &Backend| Backend { flags: backend.flags & FORWARD, ..*backend };
        let ids = |tables: &Self| -> Vec<(ServiceKey, u32)> {
            tables.services.iter().map(|(key, service)| (*key, service.id)).collect()
        };
        let mut pairs = self.backends.iter().zip(&other.backends);
        self.backends.len() == other.backends.len()
            && pairs.all(|(mine, theirs)| mine.0 == theirs.0 && known(mine.1) == known(theirs.1))
            && ids(self) == ids(other)
            && self.brokers == other.brokers
            && self.sources == other.sources
            && self.settings.is_some() == other.settings.is_some()
    }

    /// What of it lies in the data plane: all but what is handled in userspace.
    #[must_use]
    pub fn in_data_plane(&self) -> Cow<'_, Self> {
        let proxied = |backend: &Backend| backend.flags & PROXIED != 0;
        let served = self.services.values().any(|service| service.mode == MODE_PROXIED);
        if !served && !self.backends.values().any(proxied) {
            return Cow::Borrowed(self);
        }
        let mut rest = self.clone();
        rest.backends.retain(|_, backend| !proxied(backend));
        rest.load_limits.retain(|id, _| rest.backends.contains_key(id));
        for service in self.services.values().filter(|service| service.mode == MODE_PROXIED) {
            rest.services.remove(&service.key);
            rest.rings.remove(&service.id);
        }
        Cow::Owned(rest)
    }

    /// The service with this id.
    #[must_use]
    pub fn service_by_id(&self, id: u32) -> Option<&Service> {
        self.services.values().find(|service| service.id == id)
    }

    /// The peers that `brokers` should have: each with every source address of its family.
    #[must_use]
    pub fn peers_of_brokers(&self) -> BTreeMap<PeerKey, u32> {
        let pairs = self.brokers.iter().flat_map(|(broker, state)| {
            let numbered = (state.first_peer..).zip(&self.sources);
            numbered.map(move |(peer, source)| (broker, *source, peer))
        });
        let same_family =
            pairs.filter(|(broker, source, _)| source.is_v4() == broker.address.is_v4());
        same_family
            .map(|(broker, source, peer)| {
                let port = broker.port.to_be_bytes();
                (PeerKey::new(broker.address, port, source), peer)
            })
            .collect()
    }

    /// Takes note that `edit` was made; `target` are the tables that it leads to.
    pub fn note(&mut self, edit: &Edit, target: &Self) {
        match edit {
            Edit::PutSettings(settings) => self.settings = Some(*settings),
            Edit::PutSource { number, source } => {
                let at = *number as usize;
                self.sources.resize(self.sources.len().max(at + 1), Addr::default());
                self.sources[at] = source.address;
            }
            Edit::PutBackend { id, backend } => {
                self.backends.insert(*id, *backend);
            }
            Edit::ClearBackend { id } => {
                self.backends.remove(id);
            }
            Edit::PutAdmission { service, admission } => {
                self.admissions.insert(*service, *admission);
            }
            Edit::PutListed { key, listed } => {
                self.lists.insert(*key, *listed);
            }
            Edit::RemoveListed { key } => {
                self.lists.remove(key);
            }
            Edit::PutLoadLimits { id, limits } => {
                self.load_limits.insert(*id, *limits);
            }
            Edit::PutPeer { key, peer } => {
                self.peers.insert(*key, *peer);
            }
            Edit::RemovePeer { key, .. } => {
                self.peers.remove(key);
            }
            Edit::PutRing { service, .. } => {
                self.rings.extend(target.rings.get(service).map(|ring| (*service, ring.clone())));
            }
            Edit::RemoveRing { service } => {
                self.rings.remove(service);
            }
            Edit::PutService(service) => {
                self.services.insert(service.key, *service);
            }
            Edit::RemoveService { key, .. } => {
                self.services.remove(key);
            }
            Edit::Purge { .. } | Edit::ClearService { .. } => {}
        }
    }

    /// These tables, as they can be reached from `now`: where brokers answer directly, flows that
    /// were led elsewhere meanwhile stay there.
    #[must_use]
    pub fn reached_from(&self, now: &Self, tick: u32) -> Self {
        let mut reached = self.clone();
        for (service, spec) in &mut reached.rings {
            let there = now.rings.get(service).and_then(|spec| spec.slots.as_ref());
            let (Some(slots), Some(there)) = (&mut spec.slots, there) else { continue };
            let stays = |id| self.backends.get(&id).is_some_and(|b| b.flags & FORWARD != 0);
            *slots = Arc::new(there.lead_to(slots.ring(), stays, tick));
        }
        reached
    }

    /// The tables without what waits for its removal at tick `now`: backends that were removed,
    /// and the peers of brokers whose source ports have rested.
    #[must_use]
    pub fn without_remains(&self, now: u32) -> Self {
        let mut clean = self.clone();
        clean.backends.retain(|_, backend| backend.flags & FORWARD != 0);
        let used: BTreeSet<Endpoint> = clean.backends.values().map(Endpoint::of).collect();
        for (broker, state) in &mut clean.brokers {
            if !used.contains(broker) {
                state.idle_since.get_or_insert(now);
            }
        }
        let rest = self.settings.map_or(0, |settings| settings.rest_ticks);
        clean.brokers.retain(|_, broker| {
            // One tick more, because ticks are counted from their beginning.
            broker.idle_since.is_none_or(|since| ticks::age(now, since) <= rest.saturating_add(1))
        });
        clean.peers.retain(|key, _| {
            let port = u16::from_be_bytes(key.port);
            clean.brokers.contains_key(&Endpoint { address: key.broker, port })
        });
        clean
    }
}
