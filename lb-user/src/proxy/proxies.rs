//! All services in the mode `mqtt`, as the controller sees them.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use lb_common::counters::BackendCounters;
use socket2::SockRef;
use tokio::time::{Instant, timeout, timeout_at};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

use super::{
    end::Order,
    error::PrepareError,
    listener,
    prepare::{self, Prepared, Ready},
    rebalance::{Assessment, Rules},
    rebalancing::{self, Progress},
    registry::Connection,
    service::{Service, Settings},
    sessions::{self, Sessions},
    socket,
    spec::{ServiceSpec, Snapshot},
    tls::Expiry,
    workers::Workers,
};
use crate::load::{
    gauge::Reading,
    readers::{CONCURRENT_READINGS, Readers},
};

/// How long clients may take to hear that the balancer ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// The services; dropping it ends them.
#[derive(Debug)]
pub struct Proxies {
    running: Mutex<BTreeMap<SocketAddr, Running>>,
    runtime: Handle,
    /// What readings of loads share.
    load_slots: Arc<Semaphore>,
    /// Where connections live; started with the first service.
    workers: OnceLock<Arc<Workers>>,
}

#[derive(Debug)]
struct Running {
    service: Arc<Service>,
    /// Told to end the task that accepts.
    stop: watch::Sender<bool>,
    /// The socket that it accepts from, once more.
    listener: TcpListener,
}

impl Running {
    /// Accepts nobody any more. When this returns the address can be listened at again, although the
    /// task still has the socket.
    fn close(&self) {
        // The task has gone already if nobody is told, and the socket with it.
        let _ = self.stop.send(true);
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}

/// What became of a service so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Clients whose CONNECT is not here yet.
    pub waiting: u64,
    /// Clients that were not let in, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Lines that the log of connections lost.
    pub log_lost: u64,
    /// When certificates, and lists of revoked ones, expire.
    pub expiries: Vec<Expiry>,
}

impl Proxies {
    /// None yet.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which accepts for it and starts its threads.
    #[must_use]
    pub fn new() -> Self {
        let load_slots = Arc::new(Semaphore::new(CONCURRENT_READINGS));
        let (runtime, workers) = (Handle::current(), OnceLock::new());
        Self { running: Mutex::default(), runtime, load_slots, workers }
    }

    /// None yet, with connections on the runtime of a test.
    #[cfg(test)]
    #[must_use]
    pub fn here() -> Self {
        Self { workers: Arc::new(Workers::here()).into(), ..Self::new() }
    }

    /// Makes these services ready: opens what has to be opened. Nothing changes for those that run.
    /// `reread` is whether logs are opened again: somebody may have moved the file.
    pub fn prepare(&self, wanted: &[ServiceSpec], reread: bool) -> Result<Ready, PrepareError> {
        if !wanted.is_empty() && self.workers.get().is_none() {
            let workers = Workers::start().map_err(PrepareError::Workers)?;
            // Nobody else prepares at the same time; else those that came second end again.
            let _ = self.workers.set(Arc::new(workers));
        }
        let running = self.lock();
        let services = running.iter().map(|(address, one)| (*address, Arc::clone(&one.service)));
        let services = services.collect();
        // Nobody waits for the disk who only looks at a service.
        drop(running);
        prepare::prepare(&services, wanted, reread)
    }

    /// Starts, changes and ends services: from now on there are those of `ready`, with the backends of
    /// `snapshots`, in the same order.
    pub fn begin(&self, ready: Ready, snapshots: Vec<Snapshot>) {
        let mut before = std::mem::take(&mut *self.lock());
        let mut after = BTreeMap::new();
        for (Prepared { settings, listener }, snapshot) in ready.services.into_iter().zip(snapshots)
        {
            let address = settings.spec.address;
            let running = match (before.remove(&address), listener) {
                (Some(running), _) => {
                    let held = running.service.settings().sessions;
                    if let Some(left) = sessions::left(held, settings.sessions.as_deref()) {
                        self.runtime.spawn(sessions::save(left));
                    }
                    self.keep(&settings);
                    let sockets = &settings.spec.settings;
                    if let Err(error) = socket::set_up(&running.listener, sockets) {
                        tracing::error!(%address, %error, "new clients keep the old keepalive");
                    }
                    running.service.set(&settings);
                    running.service.publish(snapshot);
                    Some(running)
                }
                (None, Some(listener)) => self.start(settings, snapshot, listener),
                (None, None) => None,
            };
            after.extend(running.map(|running| (address, running)));
        }
        for one in before.into_values() {
            one.close();
            let service = &one.service;
            service.rebalancing.stop();
            service.registry.close(Order::ServiceRemoved);
            // Whoever is still on the way is led nowhere.
            service.publish(Snapshot::default());
            if let Some(sessions) = service.settings().sessions {
                self.runtime.spawn(sessions::save(sessions));
            }
        }
        *self.lock() = after;
    }

    fn start(
        &self,
        settings: Settings,
        snapshot: Snapshot,
        listener: TcpListener,
    ) -> Option<Running> {
        let _runtime = self.runtime.enter();
        // There are some since this service was made ready.
        let workers = Arc::clone(self.workers.get()?);
        let address = settings.spec.address;
        self.keep(&settings);
        let loads = Readers::new(self.runtime.clone(), Arc::clone(&self.load_slots));
        let service = Arc::new(Service::new(settings, loads));
        service.publish(snapshot);
        let accepts = match listener.try_clone().and_then(listener::register) {
            Ok(accepts) => accepts,
            Err(error) => {
                tracing::error!(%address, %error, "nobody listens there");
                return None;
            }
        };
        let (stop, stopped) = watch::channel(false);
        self.runtime.spawn(listener::accept(accepts, Arc::clone(&service), workers, stopped));
        Some(Running { service, stop, listener })
    }

    /// Sees to it that its sessions are written now and then.
    fn keep(&self, settings: &Settings) {
        if let Some(sessions) = &settings.sessions {
            self.runtime.spawn(sessions::keep(Arc::downgrade(sessions)));
        }
    }

    /// Changes the backends of the service at `address`.
    pub fn publish(&self, address: SocketAddr, snapshot: Snapshot) {
        if let Some(service) = self.service(address) {
            service.publish(snapshot);
        }
    }

    /// The counters of the backends of all services, by number.
    #[must_use]
    pub fn counters(&self) -> HashMap<u32, BackendCounters> {
        let services: Vec<_> = self.lock().values().map(|one| Arc::clone(&one.service)).collect();
        let backends = services.iter().flat_map(|service| service.backends());
        backends.map(|backend| (backend.id, backend.counters())).collect()
    }

    /// What became of the service at `address` so far.
    #[must_use]
    pub fn seen(&self, address: SocketAddr) -> Seen {
        let Some(service) = self.service(address) else { return Seen::default() };
        let Settings { log, tls, .. } = service.settings();
        Seen {
            waiting: service.waiting.len() as u64,
            refusals: service.refusals(),
            log_lost: log.map_or(0, |log| log.lost()),
            expiries: tls.client().map_or_else(Vec::new, |server| server.expiries().to_vec()),
        }
    }

    /// What the brokers of the service at `address` say of their own loads, by number; nothing where the
    /// policy does not ask.
    #[must_use]
    pub fn loads(&self, address: SocketAddr) -> HashMap<u32, Reading> {
        self.service(address).map_or_else(HashMap::new, |service| service.readings())
    }

    /// Calls `visit` for each live connection of the service at `address`.
    pub fn visit(&self, address: SocketAddr, visit: impl FnMut(&Arc<Connection>)) {
        if let Some(service) = self.service(address) {
            service.registry.visit(visit);
        }
    }

    /// How far the service at `address` is from balanced, and moves its connections if `begins`. The
    /// backends `drained` shall have nothing. `None` if it is not served.
    #[must_use]
    pub fn rebalance(
        &self,
        address: SocketAddr,
        rules: Rules,
        drained: Vec<u32>,
        begins: bool,
    ) -> Option<Assessment> {
        let service = self.service(address)?;
        if !begins {
            return Some(rebalancing::look(&service, &rules, &drained));
        }
        let (before, moving) = rebalancing::begin(&service, rules, drained);
        self.runtime.spawn(moving);
        Some(before)
    }

    /// How far the rebalancing of the service at `address` has come, which is ended if `stops`.
    #[must_use]
    pub fn rebalancing(&self, address: SocketAddr, stops: bool) -> Option<Progress> {
        let service = self.service(address)?;
        if stops {
            service.rebalancing.stop();
        }
        service.rebalancing.progress()
    }

    /// Accepts nobody any more, and ends all connections; returns when they have ended, or after a
    /// few seconds.
    pub async fn stop(&self) {
        let stopped = std::mem::take(&mut *self.lock());
        for one in stopped.values() {
            one.close();
            let service = &one.service;
            service.rebalancing.stop();
            service.registry.close(Order::Shutdown);
        }
        let all = async {
            for one in stopped.values() {
                one.service.registry.empty().await;
            }
        };
        if timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        let latest = Instant::now() + FAREWELL;
        for one in stopped.into_values() {
            let Settings { log, sessions, .. } = one.service.settings();
            if let Some(sessions) = sessions {
                sessions::save(sessions).await;
            }
            if let Some(log) = log
                && timeout_at(latest, log.written()).await.is_err()
            {
                tracing::warn!("the log of connections lacks its last lines");
            }
        }
    }

    /// The sticky sessions of the service at `address`, if it has any.
    #[must_use]
    pub fn sessions(&self, address: SocketAddr) -> Option<Arc<Sessions>> {
        self.service(address)?.settings().sessions
    }

    fn service(&self, address: SocketAddr) -> Option<Arc<Service>> {
        self.lock().get(&address).map(|running| Arc::clone(&running.service))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Proxies {
    fn default() -> Self {
        Self::new()
    }
}
