//! Sticky sessions: which broker has the session of a Client Identifier.
//!
//! A bounded table; no clock, no I/O. Times are seconds since the UNIX epoch, because entries outlive
//! the process. An entry lives as long as the session does: while the connection is open, and after it
//! for its Session Expiry Interval (MQTT 5.0, section 3.1.2.11.2). Who was not seen for longest makes
//! room for a new one.
//!
//! Measured with a million identifiers of 23 bytes: 92 bytes of heap for each, the
//! identifier included.

mod brokers;
pub mod file;
mod recency;
mod snapshot;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use brokers::Brokers;
use recency::Recency;
pub use snapshot::{Snapshot, SnapshotError};

/// What a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u32,
    /// Bytes of all Client Identifiers together: one alone may have 65,535.
    pub id_bytes: usize,
}

/// What becomes of a client whose broker was down, and which was led to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAway {
    /// It returns at its next CONNECT after its broker has come back: its session is there.
    ComeBack,
    /// It stays where it was led.
    Stay,
}

/// How long a session outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(u32);

impl Lifetime {
    /// The session ends with its connection: nothing is to be remembered.
    pub const CONNECTION: Self = Self(0);
    /// It does not expire.
    pub const UNLIMITED: Self = Self(u32::MAX);

    /// A Session Expiry Interval in seconds, with its two special values 0 and 0xFFFFFFFF.
    #[must_use]
    pub const fn from_interval(seconds: u32) -> Self {
        Self(seconds)
    }
}

/// When an entry ends, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// At this time.
    At(u32),
    /// Never: the session does not expire.
    Never,
    /// Not while its connection is open.
    Open,
}

/// An entry, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The broker that has its session.
    pub broker: &'a str,
    /// When it ends.
    pub ends: Ends,
}

/// The table of a service.
#[derive(Debug)]
pub struct Sticky {
    limits: Limits,
    index: HashTable<u32>,
    hasher: RandomState,
    recency: Recency,
    brokers: Brokers,
    id_bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    client_id: Box<str>,
    lifetime: Lifetime,
    until: Until,
    broker: u16,
    /// When it was used last, as a number of uses of the table.
    used: u32,
}

/// [`Ends`] in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Until(u32);

impl Until {
    const OPEN: Self = Self(u32::MAX);
    const NEVER: Self = Self(u32::MAX - 1);

    fn closed(now: u32, lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::UNLIMITED => Self::NEVER,
            Lifetime(seconds) => Self(now.saturating_add(seconds)).min(Self::NEVER),
        }
    }

    const fn ends(self) -> Ends {
        match self {
            Self::OPEN => Ends::Open,
            Self::NEVER => Ends::Never,
            Self(time) => Ends::At(time),
        }
    }
}

impl Sticky {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: HashTable::new(),
            hasher: RandomState::new(),
            recency: Recency::default(),
            brokers: Brokers::default(),
            id_bytes: 0,
            evicted: 0,
        }
    }

    /// The broker that has the session of `client_id`, as it was named to [`Sticky::opened`].
    pub fn home(&mut self, client_id: &str, now: u32) -> Option<&str> {
        let slot = self.find(client_id)?;
        if self.recency.get(slot)?.until.0 <= now {
            self.remove(slot);
            return None;
        }
        Some(self.brokers.name(self.recency.get(slot)?.broker))
    }

    /// Notes that `broker` has accepted `client_id`, with a session that lives so long.
    ///
    /// If another broker has its session, `away` says which of them is remembered from now on. A
    /// session that began anew (Clean Start) is where the client is: then say [`WhenAway::Stay`].
    pub fn opened(&mut self, client_id: &str, broker: &str, lifetime: Lifetime, away: WhenAway) {
        let known = self.find(client_id);
        if lifetime == Lifetime::CONNECTION || client_id.is_empty() {
            if let Some(slot) = known {
                self.remove(slot);
            }
            return;
        }
        let Some(slot) = known else {
            self.insert(client_id, broker, lifetime, Until::OPEN);
            return;
        };
        self.recency.touch(slot);
        let Some(entry) = self.recency.get_mut(slot) else { return };
        (entry.lifetime, entry.until) = (lifetime, Until::OPEN);
        if away == WhenAway::Stay {
            entry.broker = self.brokers.exchange(entry.broker, broker);
        }
    }

    /// Notes that the connection of `client_id` has ended, at `now`. `lifetime` is another one if its
    /// DISCONNECT said so (MQTT 5.0, section 3.14.2.2.2).
    pub fn closed(&mut self, client_id: &str, lifetime: Option<Lifetime>, now: u32) {
        let Some(slot) = self.find(client_id) else { return };
        let Some(entry) = self.recency.get_mut(slot) else { return };
        entry.lifetime = lifetime.unwrap_or(entry.lifetime);
        if entry.lifetime == Lifetime::CONNECTION {
            self.remove(slot);
        } else {
            entry.until = Until::closed(now, entry.lifetime);
        }
    }

    /// Forgets `client_id`; whether it was known.
    pub fn forget(&mut self, client_id: &str) -> bool {
        let found = self.find(client_id);
        if let Some(slot) = found {
            self.remove(slot);
        }
        found.is_some()
    }

    /// Forgets all that are `chosen`, in time proportional to the table; how many.
    pub fn clear(&mut self, mut chosen: impl FnMut(Listed<'_>) -> bool) -> usize {
        let listed = |entry: &Entry| chosen(self.listed(entry));
        let slots: Vec<u32> = self.recency.find_all(listed);
        for slot in &slots {
            self.remove(*slot);
        }
        slots.len()
    }

    /// All entries, the last used first; those that have ended are among them until they are asked
    /// for, or a [`Snapshot`] is taken.
    pub fn entries(&self) -> impl Iterator<Item = Listed<'_>> {
        self.recency.newest_first().map(|entry| self.listed(entry))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many entries had to make room for others, since the start.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many sessions each broker has, by its name.
    pub fn brokers(&self) -> impl Iterator<Item = (&str, u32)> {
        self.brokers.counts()
    }

    fn listed<'a>(&'a self, entry: &'a Entry) -> Listed<'a> {
        let broker = self.brokers.name(entry.broker);
        Listed { client_id: &entry.client_id, broker, ends: entry.until.ends() }
    }

    fn find(&self, client_id: &str) -> Option<u32> {
        let same = |slot: &u32| {
            self.recency.get(*slot).is_some_and(|entry| &*entry.client_id == client_id)
        };
        self.index.find(self.hasher.hash_one(client_id), same).copied()
    }

    /// Adds what is not known yet. An identifier that no table of this size can hold is not noted.
    fn insert(&mut self, client_id: &str, broker: &str, lifetime: Lifetime, until: Until) {
        if self.limits.entries == 0 || client_id.len() > self.limits.id_bytes {
            return;
        }
        while self.len() >= self.limits.entries as usize
            || self.id_bytes + client_id.len() > self.limits.id_bytes
        {
            let Some(oldest) = self.recency.oldest() else { return };
            self.remove(oldest);
            self.evicted += 1;
        }
        let Some(broker) = self.brokers.enter(broker) else { return };
        let slot = self.recency.push(Entry {
            client_id: client_id.into(),
            lifetime,
            until,
            broker,
            used: 0,
        });
        self.id_bytes += client_id.len();
        let (recency, hasher) = (&self.recency, &self.hasher);
        let hash =
            |slot: &u32| recency.get(*slot).map_or(0, |entry| hasher.hash_one(&*entry.client_id));
        self.index.insert_unique(hasher.hash_one(client_id), slot, hash);
    }

    fn remove(&mut self, slot: u32) {
        let Some(entry) = self.recency.take(slot) else { return };
        self.id_bytes -= entry.client_id.len();
        self.brokers.leave(entry.broker);
        let hash = self.hasher.hash_one(&*entry.client_id);
        if let Ok(found) = self.index.find_entry(hash, |one| *one == slot) {
            found.remove();
        }
    }
}
