//! A service: its backends, its clients, and what they share.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use tokio::time::Instant;

use super::{
    backend::{Backend, Place},
    choose::{self, Candidate, Choice, Why},
    end::{Order, Refused},
    log::ConnectionLog,
    pace::Gates,
    policy,
    rebalancing::Rebalancing,
    registry::{Connection, Registry},
    routing::Routing,
    sessions::Sessions,
    sides::TlsSides,
    spec::{BackendSpec, ServiceSpec, Snapshot},
    takeover::{Claim, Owners},
    waiting::Waiting,
};
use crate::load::{
    gauge::Reading,
    readers::{Broker, Readers},
    source::Source,
};

/// A service in the mode `mqtt`, as all of its connections see it.
#[derive(Debug)]
pub struct Service {
    settings: RwLock<Settings>,
    choosing: Mutex<Choosing>,
    /// Those whose CONNECT is not here yet.
    pub waiting: Waiting,
    /// Those whom a broker has accepted.
    pub registry: Arc<Registry>,
    /// What a CONNECT must pass.
    pub gates: Gates,
    owners: Mutex<Owners>,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    /// Connections that move to other backends.
    pub rebalancing: Rebalancing,
}

/// What a reload may change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As configured.
    pub spec: Arc<ServiceSpec>,
    /// Where ended connections are logged.
    pub log: Option<ConnectionLog>,
    /// Which broker has whose session, where clients return to it.
    pub sessions: Option<Arc<Sessions>>,
    /// TLS towards clients, and towards brokers.
    pub tls: TlsSides,
    /// Where brokers tell their own loads, if the policy asks.
    pub load: Option<Arc<Source>>,
}

#[derive(Debug)]
struct Choosing {
    routing: Routing,
    snapshot: Snapshot,
    /// Those of the snapshot, in its order.
    backends: Vec<Arc<Backend>>,
    /// Their own loads, where the policy wants to know.
    loads: Readers,
}

impl Choosing {
    /// Reads the loads of the brokers there are now, as `settings` say.
    fn read_loads(&mut self, settings: &Settings) {
        let Self { backends, loads, .. } = self;
        let brokers = backends.iter().map(|one| {
            let Backend { id, name, address, .. } = &**one;
            Broker { id: *id, name, address: *address }
        });
        loads.set(&settings.spec.name, settings.load.as_ref(), brokers);
    }
}

impl Service {
    /// One without backends, whose loads `loads` shall read.
    #[must_use]
    pub fn new(settings: Settings, loads: Readers) -> Self {
        let snapshot = Snapshot::default();
        let routing = Routing::new(&settings.spec.settings, &snapshot);
        Self {
            gates: Gates::new(settings.spec.settings.pacing),
            settings: RwLock::new(settings),
            choosing: Mutex::new(Choosing { routing, snapshot, backends: Vec::new(), loads }),
            waiting: Waiting::default(),
            registry: Arc::default(),
            owners: Mutex::default(),
            refusals: Mutex::default(),
            rebalancing: Rebalancing::default(),
        }
    }

    /// What holds for a connection that begins now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what holds for new connections.
    pub fn set(&self, settings: &Settings) {
        self.gates.set(settings.spec.settings.pacing);
        let mut current = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        let same = policy::is_same(&current.spec.settings, &settings.spec.settings);
        *current = settings.clone();
        drop(current);
        let mut choosing = lock(&self.choosing);
        if !same {
            choosing.routing = Routing::new(&settings.spec.settings, &choosing.snapshot);
        }
        choosing.read_loads(settings);
    }

    /// Changes the backends. Connections of those that are not among them end.
    pub fn publish(&self, snapshot: Snapshot) {
        let settings = self.settings();
        let mut choosing = lock(&self.choosing);
        if choosing.snapshot == snapshot {
            return;
        }
        let known = |spec: &BackendSpec| {
            choosing.backends.iter().find(|known| known.id == spec.id && known.name == spec.name)
        };
        let backends = snapshot.backends.iter().map(|spec| {
            let new = || Arc::new(Backend::new(spec.id, spec.name.clone(), spec.address));
            known(spec).map_or_else(new, Arc::clone)
        });
        choosing.backends = backends.collect();
        let before = std::mem::replace(&mut choosing.snapshot, snapshot);
        let Choosing { routing, snapshot, .. } = &mut *choosing;
        routing.set_members(&before, snapshot);
        choosing.read_loads(&settings);
        let kept: Vec<u32> = choosing.backends.iter().map(|backend| backend.id).collect();
        drop(choosing);
        self.gates.retain_backends(|id| kept.contains(&id));
        self.registry.end(Order::BackendRemoved, |one| !kept.contains(&one.backend.id));
    }

    /// Whether a connection may go on to this backend: it may have been removed meanwhile.
    #[must_use]
    pub fn has(&self, backend: u32) -> bool {
        lock(&self.choosing).backends.iter().any(|known| known.id == backend)
    }

    /// Whether it has a backend of this name, whatever its health.
    #[must_use]
    pub fn has_named(&self, name: &str) -> bool {
        lock(&self.choosing).backends.iter().any(|known| known.name == *name)
    }

    /// Whether this backend takes new connections.
    #[must_use]
    pub fn accepts(&self, backend: u32) -> bool {
        lock(&self.choosing).snapshot.backends.iter().any(|one| one.id == backend && one.accepts)
    }

    /// Its backends.
    #[must_use]
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        lock(&self.choosing).backends.clone()
    }

    /// A place at the backend called `name`, if it takes new connections: it has the client's session.
    pub fn choose_home(&self, name: &str) -> Option<(Place, Why)> {
        let choosing = lock(&self.choosing);
        let mut pairs = choosing.snapshot.backends.iter().zip(&choosing.backends);
        let (spec, home) = pairs.find(|(spec, _)| spec.name == *name)?;
        (spec.accepts && !is_full(spec, home)).then(|| (Place::take(home), Why::Session))
    }

    /// Number, weight and connections of each backend, and whether it takes new ones.
    #[must_use]
    pub fn loads(&self) -> Vec<(u32, u32, u32, bool)> {
        let choosing = lock(&self.choosing);
        let pairs = choosing.snapshot.backends.iter().zip(&choosing.backends);
        pairs.map(|(spec, one)| (spec.id, spec.weight, one.load(), spec.accepts)).collect()
    }

    /// What brokers say of their own loads, by number; nothing where the policy does not ask.
    #[must_use]
    pub fn readings(&self) -> HashMap<u32, Reading> {
        lock(&self.choosing).loads.readings(Instant::now().into_std())
    }

    /// Whether clients that ask for this name by TLS are led anywhere.
    #[must_use]
    pub fn has_route(&self, server_name: Option<&str>) -> bool {
        lock(&self.choosing).routing.find(server_name).is_some()
    }

    /// A place for `client` at a backend other than those `tried`, and why there.
    pub fn choose(
        &self,
        client: &choose::Client<'_>,
        tried: &[u32],
    ) -> Result<(Place, Why), Refused> {
        let mut choosing = lock(&self.choosing);
        let Choosing { routing, snapshot, backends, loads } = &mut *choosing;
        let route = routing.find(client.identity.server_name);
        let route = route.ok_or(Refused::UnknownServerName)?;
        let all = snapshot.backends.iter().zip(backends.iter());
        let led_to: Vec<_> = all.filter(|(spec, _)| routing.leads_to(route, &spec.name)).collect();
        let pairs = || led_to.iter().copied();
        let chooser = routing.chooser(route).ok_or(Refused::UnknownServerName)?;
        let now = Instant::now().into_std();
        let candidates: Vec<Candidate> = pairs()
            .map(|(spec, one)| Candidate { load: loads.load(spec.id, now), ..candidate(spec, one) })
            .collect();
        let random = [fastrand::u64(..), fastrand::u64(..)];
        let Some(Choice { id, why }) = chooser.choose(&candidates, client, tried, random) else {
            let mut full = pairs().filter(|(spec, one)| {
                spec.accepts && is_full(spec, one) && !tried.contains(&spec.id)
            });
            let Some((_, full)) = full.next() else { return Err(Refused::NoBackend) };
            full.note_full();
            return Err(Refused::Full);
        };
        // Under the lock: nobody else gets the last place.
        let chosen = backends.iter().find(|one| one.id == id).ok_or(Refused::NoBackend)?;
        Ok((Place::take(chosen), why))
    }

    /// A broker has accepted `connection`, whose CONNECT came at `arrived`: it has its Client Identifier
    /// from now on, alone if that is asked for. Whether that is so: a newer one may have it already.
    pub fn opened(&self, settings: &Settings, connection: &Connection, arrived: Instant) -> bool {
        let takeover = settings.spec.settings.takeover;
        if connection.client_id.is_empty() || !(takeover || settings.sessions.is_some()) {
            return true;
        }
        let client_id = &connection.client_id;
        let claim = lock(&self.owners).claim(client_id, connection.number, arrived.into_std());
        match claim {
            _ if !takeover => {}
            Claim::Won(None) => {}
            Claim::Won(Some(older)) => {
                if let Some(older) = self.registry.get(older) {
                    self.take_over(settings, &older, connection.client);
                }
            }
            Claim::Lost => self.take_over(settings, connection, connection.client),
        }
        claim != Claim::Lost
    }

    /// Ends `older`, because a newer connection has its Client Identifier; `client` claimed it last.
    fn take_over(&self, settings: &Settings, older: &Connection, client: SocketAddr) {
        older.end(Order::TakenOver);
        let client_id = &older.client_id;
        if lock(&self.owners).note_takeover(client_id, Instant::now().into_std()) {
            let service = &settings.spec.name;
            tracing::warn!(
                %service,
                client_id,
                %client,
                "connections fight over a Client Identifier: it is quarantined"
            );
        }
    }

    /// The connection has ended.
    pub fn closed(&self, connection: &Connection) {
        let had = lock(&self.owners).release(&connection.client_id, connection.number);
        if had && let Some(sessions) = self.settings().sessions {
            sessions.closed(&connection.client_id);
        }
    }

    /// Whether nobody gets this Client Identifier now.
    #[must_use]
    pub fn is_quarantined(&self, client_id: &str) -> bool {
        !client_id.is_empty()
            && lock(&self.owners).is_quarantined(client_id, Instant::now().into_std())
    }

    /// Counts a client that was not let in.
    pub fn note_refusal(&self, reason: &'static str) {
        *lock(&self.refusals).entry(reason).or_default() += 1;
    }

    /// Clients that were not let in, by reason.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.refusals).clone()
    }
}

fn candidate(spec: &BackendSpec, backend: &Backend) -> Candidate {
    Candidate {
        id: spec.id,
        weight: spec.weight,
        connections: backend.load(),
        load: None,
        eligible: spec.accepts && !is_full(spec, backend),
    }
}

fn is_full(spec: &BackendSpec, backend: &Backend) -> bool {
    spec.max_connections.is_some_and(|most| backend.load() >= most)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
