//! A broker as connections see it, and what is counted about it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use lb_common::counters::BackendCounters;

use crate::{
    config::model::Name,
    mqtt::{Connack, decode::AnswerPacket},
};

/// A backend. Its connections keep it, also when the service has it no more.
#[derive(Debug)]
pub struct Backend {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: Name,
    /// Where the broker listens.
    pub address: SocketAddr,
    /// Connections that are open or being made.
    load: AtomicU32,
    attempted: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    full: AtomicU64,
    paced: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    missing: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl Backend {
    /// One without connections.
    #[must_use]
    pub fn new(id: u32, name: Name, address: SocketAddr) -> Self {
        Self {
            id,
            name,
            address,
            load: AtomicU32::default(),
            attempted: AtomicU64::default(),
            opened: AtomicU64::default(),
            closed: AtomicU64::default(),
            full: AtomicU64::default(),
            paced: AtomicU64::default(),
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
            unavailable: AtomicU64::default(),
            missing: AtomicU64::default(),
            bytes_up: AtomicU64::default(),
            bytes_down: AtomicU64::default(),
        }
    }

    /// Connections that are open or being made.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load.load(Relaxed)
    }

    /// Takes note of what the broker answered to a CONNECT.
    pub fn note_answer(&self, answer: &AnswerPacket) {
        match answer {
            AnswerPacket::Connack(connack) => self.counter_of(connack).fetch_add(1, Relaxed),
            AnswerPacket::Auth => return,
        };
    }

    fn counter_of(&self, connack: &Connack) -> &AtomicU64 {
        if connack.accepted() {
            &self.accepted
        } else if connack.may_succeed_elsewhere() {
            &self.unavailable
        } else {
            &self.refused
        }
    }

    /// Takes note that the broker answered with something else than a CONNACK, or with nothing.
    pub fn note_no_answer(&self) {
        self.missing.fetch_add(1, Relaxed);
    }

    /// Takes note that a connection was refused because it has as many as it may have.
    pub fn note_full(&self) {
        self.full.fetch_add(1, Relaxed);
    }

    /// Takes note that a connection was not given to it, because more come than it takes.
    pub fn note_paced(&self) {
        self.paced.fetch_add(1, Relaxed);
    }

    /// Takes note of bytes from a client.
    pub fn note_to_backend(&self, bytes: usize) {
        self.bytes_up.fetch_add(bytes as u64, Relaxed);
    }

    /// Takes note of bytes from the broker.
    pub fn note_to_client(&self, bytes: usize) {
        self.bytes_down.fetch_add(bytes as u64, Relaxed);
    }

    /// What was counted, in the words of the data plane; of packets nothing is known.
    #[must_use]
    pub fn counters(&self) -> BackendCounters {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        // In this order: what has been opened meanwhile must not look like one that never closed.
        let closed = read(&self.closed);
        BackendCounters {
            closed,
            opened: read(&self.opened),
            attempted: read(&self.attempted),
            full: read(&self.full),
            paced: read(&self.paced),
            connack_accepted: read(&self.accepted),
            connack_refused: read(&self.refused),
            connack_unavailable: read(&self.unavailable),
            connack_missing: read(&self.missing),
            bytes_to_backend: read(&self.bytes_up),
            bytes_to_client: read(&self.bytes_down),
            ..BackendCounters::default()
        }
    }
}

/// A connection's place at a backend; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    backend: Arc<Backend>,
    open: bool,
}

impl Place {
    /// For a connection that is being made.
    #[must_use]
    pub fn take(backend: &Arc<Backend>) -> Self {
        backend.load.fetch_add(1, Relaxed);
        backend.attempted.fetch_add(1, Relaxed);
        Self { backend: Arc::clone(backend), open: false }
    }

    /// The connection was made.
    pub fn open(&mut self) {
        if !self.open {
            self.open = true;
            self.backend.opened.fetch_add(1, Relaxed);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backend.load.fetch_sub(1, Relaxed);
        if self.open {
            self.backend.closed.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_whatever_became_of_its_connection() {
        let backend = Arc::new(Backend::new(
            7,
            "b".parse().unwrap(),
            SocketAddr::from(([10, 0, 0, 1], 1883)),
        ));
        let failed = Place::take(&backend);
        let mut open = Place::take(&backend);
        open.open();
        open.open();
        assert_eq!(backend.load(), 2);
        drop(failed);
        let counters = backend.counters();
        assert_eq!((counters.attempted, counters.opened, counters.closed), (2, 1, 0));
        drop(open);
        assert_eq!((backend.load(), backend.counters().closed), (0, 1));
    }
}
