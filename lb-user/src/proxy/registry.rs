//! The live connections of a service.

use std::{
    collections::HashMap,
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::Instant};

use super::{backend::Backend, choose::Why, end::Order};
use crate::mqtt::Version;

/// A connection that a broker has answered.
#[derive(Debug)]
pub struct Connection {
    /// Its number, unlike that of any other connection of its service.
    pub number: u64,
    /// What stays true of it.
    beginning: Beginning,
    /// When it began.
    pub since: Instant,
    /// The same, by the wall clock.
    pub since_wall: SystemTime,
    /// Milliseconds from `since` to the last byte of the client, up to 49 days.
    heard_ms: AtomicU32,
    to_backend: AtomicU64,
    to_client: AtomicU64,
    ordered: AtomicU8,
    end: Notify,
}

/// What a connection begins with.
#[derive(Debug)]
pub struct Beginning {
    /// The client.
    pub client: SocketAddr,
    /// Its broker.
    pub backend: Arc<Backend>,
    /// Our end of the connection to the broker.
    pub source: SocketAddr,
    /// What the client, or the broker, calls it; empty if neither said.
    pub client_id: Box<str>,
    /// The user name.
    pub username: Option<Box<str>>,
    /// The server that it asked for by TLS (SNI).
    pub server_name: Option<Box<str>>,
    /// The version that it speaks; `None` where TLS is passed through, and nobody knows.
    pub version: Option<Version>,
    /// Whether its broker said so by a CONNACK.
    pub accepted: bool,
    /// Why its backend was chosen.
    pub why: Why,
    /// How long it may be idle.
    pub idle_timeout: Duration,
    /// Whether its broker keeps a session when it ends.
    pub session: bool,
}

impl Deref for Connection {
    type Target = Beginning;

    fn deref(&self) -> &Beginning {
        &self.beginning
    }
}

impl Connection {
    /// Takes note of bytes from the client that went to the broker.
    pub fn note_to_backend(&self, bytes: usize, now: Instant) {
        let ms = now.duration_since(self.since).as_millis();
        self.heard_ms.store(u32::try_from(ms).unwrap_or(u32::MAX), Relaxed);
        self.to_backend.fetch_add(bytes as u64, Relaxed);
        self.backend.note_to_backend(bytes);
    }

    /// Takes note of bytes from the broker that went to the client.
    pub fn note_to_client(&self, bytes: usize) {
        self.to_client.fetch_add(bytes as u64, Relaxed);
        self.backend.note_to_client(bytes);
    }

    /// Bytes to the broker, and to the client.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.to_backend.load(Relaxed), self.to_client.load(Relaxed))
    }

    /// How long the client has been silent.
    #[must_use]
    pub fn idle(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Relaxed).into());
        self.since.elapsed().saturating_sub(heard)
    }

    /// Orders it to end; the first order counts.
    pub fn end(&self, order: Order) {
        let _ = self.ordered.compare_exchange(0, order as u8, Relaxed, Relaxed);
        self.end.notify_one();
    }

    /// Whether it has to end, and takes leave now.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ordered.load(Relaxed) != 0
    }

    /// Ready when it has to end.
    pub async fn ordered(&self) -> Order {
        loop {
            if let Some(order) = Order::from_number(self.ordered.load(Relaxed)) {
                return order;
            }
            self.end.notified().await;
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Registry {
    live: Mutex<Live>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Live {
    next: u64,
    /// Whoever enters from now on has to end.
    closed: Option<Order>,
    connections: HashMap<u64, Arc<Connection>>,
}

/// A connection's entry; dropped, it is no more.
#[derive(Debug)]
pub struct Entry {
    registry: Arc<Registry>,
    /// What is known about it.
    pub connection: Arc<Connection>,
}

impl Registry {
    /// One more, of which so many bytes have gone to the broker, and to the client, already.
    pub fn enter(self: &Arc<Self>, beginning: Beginning, bytes: (u64, u64)) -> Entry {
        let mut live = self.lock();
        let number = live.next;
        live.next += 1;
        let connection = Arc::new(Connection {
            number,
            beginning,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            heard_ms: AtomicU32::default(),
            to_backend: AtomicU64::new(bytes.0),
            to_client: AtomicU64::new(bytes.1),
            ordered: AtomicU8::default(),
            end: Notify::new(),
        });
        live.connections.insert(number, Arc::clone(&connection));
        if let Some(order) = live.closed {
            connection.end(order);
        }
        Entry { registry: Arc::clone(self), connection }
    }

    /// The connection with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Arc<Connection>> {
        self.lock().connections.get(&number).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Calls `visit` for each of them, in no order. Who enters or leaves meanwhile may be missing, or
    /// still be there: nobody waits for `visit`.
    pub fn visit(&self, visit: impl FnMut(&Arc<Connection>)) {
        let all: Vec<_> = self.lock().connections.values().cloned().collect();
        all.iter().for_each(visit);
    }

    /// Orders those to end for which `which` holds.
    pub fn end(&self, order: Order, which: impl Fn(&Connection) -> bool) {
        self.visit(|connection| {
            if which(connection) {
                connection.end(order);
            }
        });
    }

    /// Orders all of them to end, and those that are still on their way here.
    pub fn close(&self, order: Order) {
        self.lock().closed = Some(order);
        self.end(order, |_| true);
    }

    /// Ready when there are none left.
    pub async fn empty(&self) {
        while self.len() > 0 {
            self.emptied.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut live = self.registry.lock();
        live.connections.remove(&self.connection.number);
        if live.connections.is_empty() {
            live.connections.shrink_to_fit();
            self.registry.emptied.notify_one();
        }
    }
}
