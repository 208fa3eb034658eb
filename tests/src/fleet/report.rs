//! What a fleet has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::connection::Reason;
use super::ledger::Counts;

/// The end of an established connection that the client had not asked for.
#[derive(Debug, Clone)]
pub struct Disconnect {
    /// The client's number.
    pub client: u32,
    /// When, since the start of the fleet.
    pub at: Duration,
    /// The client's end of the connection.
    pub local: SocketAddr,
    /// The broker it had reached.
    pub broker: Option<String>,
    pub reason: Reason,
    /// How long it took until the client was connected again, if it is.
    pub back_after: Option<Duration>,
}

/// An attempt to connect that led to nothing.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The client's number.
    pub client: u32,
    /// When it was given up, since the start of the fleet.
    pub at: Duration,
    pub reason: Reason,
}

/// One client, as it is now.
#[derive(Debug, Clone)]
pub struct ClientReport {
    /// Its number.
    pub client: u32,
    /// Its end of the connection; `None` while it has none.
    pub local: Option<SocketAddr>,
    /// The broker it has reached last.
    pub broker: Option<String>,
    pub counts: Counts,
}

/// Everything, up to the moment it was asked for.
#[derive(Debug, Clone)]
pub struct Report {
    /// Since the start of the fleet.
    pub elapsed: Duration,
    /// Successful attempts to connect.
    pub connects: u64,
    pub failures: Vec<Failure>,
    pub disconnects: Vec<Disconnect>,
    pub clients: Vec<ClientReport>,
    /// From publishing a message to its return, in nanoseconds.
    pub latency: Histogram<u64>,
    /// From the start of an attempt to connect to the SUBACK, in nanoseconds.
    pub connect_time: Histogram<u64>,
}

impl Report {
    /// How many clients are connected now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.clients.iter().filter(|client| client.local.is_some()).count()
    }

    /// The totals of all clients.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut total = Counts::default();
        for client in &self.clients {
            total += client.counts;
        }
        total
    }

    /// How many clients are connected to each broker now.
    #[must_use]
    pub fn clients_by_broker(&self) -> BTreeMap<String, usize> {
        let mut by_broker = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.local.is_some()) {
            let broker = client.broker.clone().unwrap_or_else(|| "unknown".into());
            *by_broker.entry(broker).or_default() += 1;
        }
        by_broker
    }

    /// A quantile of the time from publishing to return: 0.5, 0.99.
    #[must_use]
    pub fn latency_at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    /// The longest time any message took.
    #[must_use]
    pub fn latency_max(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    /// # Panics
    /// If anybody was disconnected, or a message was lost or came twice: the report says who.
    pub fn assert_undisturbed(&self) {
        let first = self.disconnects.first();
        assert!(first.is_none(), "{} disconnects, first {first:?}", self.disconnects.len());
        let first = self.failures.first();
        assert!(first.is_none(), "{} failed attempts, first {first:?}", self.failures.len());
        let counts = self.counts();
        assert_eq!((counts.lost, counts.duplicated), (0, 0), "{counts:?}");
        assert_eq!(counts.published, counts.acknowledged, "{counts:?}");
    }

    /// # Panics
    /// If anybody but clients of `broker` was disconnected, or a message of anybody who was not
    /// was lost or came twice.
    pub fn assert_only_disturbed(&self, broker: &str) {
        let stray = self.disconnects.iter().find(|one| one.broker.as_deref() != Some(broker));
        assert!(stray.is_none(), "{stray:?}");
        let disturbed: BTreeSet<u32> = self.disconnects.iter().map(|one| one.client).collect();
        for client in self.clients.iter().filter(|one| !disturbed.contains(&one.client)) {
            let counts = client.counts;
            assert_eq!((counts.lost, counts.duplicated), (0, 0), "{client:?}");
            assert_eq!(counts.published, counts.acknowledged, "{client:?}");
        }
    }
}

/// Times from a microsecond to a minute, to three digits.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("these bounds are allowed")
}
