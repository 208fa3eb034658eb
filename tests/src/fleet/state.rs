//! What the clients of a fleet share: the plan, the clock, and the books.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, watch};

use super::connection::Reason;
use super::ledger::{Ledger, Stamp};
use super::report::{ClientReport, Disconnect, Failure, Report, new_histogram};
use super::{Plan, QoS, Traffic};

/// What the clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Publish.
    Running,
    /// Publish nothing new, but receive what is under way.
    Settling,
    /// Say goodbye.
    Closing,
}

/// The shared state.
#[derive(Debug)]
pub struct Fleet {
    pub plan: Plan,
    pub connecting: Semaphore,
    phase: watch::Sender<Phase>,
    start: Instant,
    clients: Vec<Mutex<Client>>,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Client {
    local: Option<SocketAddr>,
    broker: Option<String>,
    /// The index of its last entry in `disconnects`, while it is not back.
    away: Option<usize>,
    ledger: Ledger,
}

#[derive(Debug)]
struct Events {
    connects: u64,
    failures: Vec<Failure>,
    disconnects: Vec<Disconnect>,
    latency: Histogram<u64>,
    connect_time: Histogram<u64>,
}

/// The books of one client, locked. Never held across an await.
pub struct LedgerGuard<'a>(MutexGuard<'a, Client>);

impl std::ops::Deref for LedgerGuard<'_> {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0.ledger
    }
}

impl std::ops::DerefMut for LedgerGuard<'_> {
    fn deref_mut(&mut self) -> &mut Ledger {
        &mut self.0.ledger
    }
}

impl Fleet {
    pub fn new(plan: Plan) -> Self {
        Self {
            connecting: Semaphore::new(plan.connecting_at_once),
            phase: watch::Sender::new(Phase::Running),
            start: Instant::now(),
            clients: (0..plan.clients).map(|_| Mutex::default()).collect(),
            events: Mutex::new(Events {
                connects: 0,
                failures: Vec::new(),
                disconnects: Vec::new(),
                latency: new_histogram(),
                connect_time: new_histogram(),
            }),
            plan,
        }
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub fn client_id(&self, index: usize) -> String {
        format!("{}-{}", self.plan.prefix, number(index))
    }

    pub fn topic(&self, index: usize) -> String {
        format!("fleet/{}", self.client_id(index))
    }

    /// Spreads the clients evenly over the pause between two messages.
    pub fn first_delay(&self, index: usize) -> Duration {
        let pause = match self.plan.traffic {
            Traffic::Idle => Duration::ZERO,
            Traffic::ClosedLoop { pause } | Traffic::Every(pause) => pause,
        };
        pause * number(index) / self.plan.clients.max(1)
    }

    pub fn ledger(&self, index: usize) -> LedgerGuard<'_> {
        LedgerGuard(self.client(index))
    }

    /// Enters a new message, unless the fleet is to publish no more.
    ///
    /// Phase and books are seen under one lock: who finds the fleet settled after the phase has
    /// changed can't miss a message that was decided on before.
    pub fn publish(&self, index: usize) -> Option<Stamp> {
        let mut client = self.client(index);
        let running = *self.phase.borrow() == Phase::Running;
        let at_most_once = self.plan.qos == QoS::AtMostOnce;
        running.then(|| client.ledger.publish(self.now(), at_most_once))
    }

    pub fn connected(&self, index: usize, local: SocketAddr, started: Duration) {
        let now = self.now();
        let mut client = self.client(index);
        client.local = Some(local);
        let away = client.away.take();
        drop(client);
        let mut events = self.events();
        events.connects += 1;
        events.connect_time.saturating_record(nanoseconds(now.saturating_sub(started)));
        if let Some(disconnect) = away.and_then(|entry| events.disconnects.get_mut(entry)) {
            disconnect.back_after = Some(now.saturating_sub(disconnect.at));
        }
    }

    pub fn reached(&self, index: usize, broker: String) {
        self.client(index).broker = Some(broker);
    }

    pub fn failed(&self, index: usize, reason: Reason) {
        let failure = Failure { client: number(index), at: self.now(), reason };
        self.events().failures.push(failure);
    }

    pub fn left(&self, index: usize) {
        self.client(index).local = None;
    }

    pub fn disconnected(&self, index: usize, local: SocketAddr, reason: Reason) {
        let mut client = self.client(index);
        let mut events = self.events();
        client.local = None;
        client.away = Some(events.disconnects.len());
        events.disconnects.push(Disconnect {
            client: number(index),
            at: self.now(),
            local,
            broker: client.broker.clone(),
            reason,
            back_after: None,
        });
    }

    /// A message took so long to come back.
    pub fn took(&self, latency: Duration) {
        self.events().latency.saturating_record(nanoseconds(latency));
    }

    /// True once nothing is under way on any connection.
    pub fn is_settled(&self) -> bool {
        (0..self.clients.len()).all(|index| {
            let client = self.client(index);
            client.local.is_none() || client.ledger.outstanding() == 0
        })
    }

    pub fn connected_clients(&self) -> usize {
        (0..self.clients.len()).filter(|&index| self.client(index).local.is_some()).count()
    }

    /// How many messages have come back to each client.
    pub fn received(&self) -> Vec<u64> {
        let indices = 0..self.clients.len();
        indices.map(|index| self.client(index).ledger.counts().received).collect()
    }

    /// With `over`, what is still under way counts as lost.
    pub fn report(&self, over: bool) -> Report {
        let clients = (0..self.clients.len()).map(|index| {
            let client = self.client(index);
            let ledger = &client.ledger;
            ClientReport {
                client: number(index),
                local: client.local,
                broker: client.broker.clone(),
                counts: if over { ledger.final_counts() } else { ledger.counts() },
            }
        });
        let clients = clients.collect();
        let events = self.events();
        Report {
            elapsed: self.now(),
            connects: events.connects,
            failures: events.failures.clone(),
            disconnects: events.disconnects.clone(),
            clients,
            latency: events.latency.clone(),
            connect_time: events.connect_time.clone(),
        }
    }

    fn client(&self, index: usize) -> MutexGuard<'_, Client> {
        self.clients[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer clients than addresses")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_that_was_found_settled_publishes_no_more() {
        let fleet = Fleet::new(Plan::new(SocketAddr::from(([127, 0, 0, 1], 1883)), 1));
        fleet.connected(0, SocketAddr::from(([127, 0, 0, 1], 40000)), Duration::ZERO);
        assert!(fleet.publish(0).is_some());
        fleet.enter(Phase::Settling);
        assert!(!fleet.is_settled(), "what was published before is waited for");
        fleet.ledger(0).acknowledge(1);
        fleet.ledger(0).receive(0);
        assert!(fleet.is_settled());
        assert!(fleet.publish(0).is_none(), "a client whose timer fires late");
        let counts = fleet.report(true).counts();
        assert_eq!((counts.published, counts.acknowledged, counts.received), (1, 1, 1));
    }
}
