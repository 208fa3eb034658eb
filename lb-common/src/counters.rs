//! Counters, one copy per CPU.

use crate::shared_type;

/// Counters of one backend. Bytes are those of the IP packet, headers included.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Packets forwarded to the broker.
    pub packets_to_backend: u64,
    /// Bytes forwarded to the broker.
    pub bytes_to_backend: u64,
    /// Packets forwarded to clients.
    pub packets_to_client: u64,
    /// Bytes forwarded to clients.
    pub bytes_to_client: u64,
    /// New connection attempts given to this backend.
    pub attempted: u64,
    /// Connections whose handshake was completed.
    pub opened: u64,
    /// Connections that ended by FIN or RST, less those that turned out to live on (a wrapping
    /// sum: single CPUs may hold "negative" values).
    pub closed: u64,
    /// Segments refused because the backend is gone.
    pub refused: u64,
    /// CONNACKs that accept a client.
    pub connack_accepted: u64,
    /// CONNACKs that refuse a client for a reason that lies with the client.
    pub connack_refused: u64,
    /// CONNACKs that say that the broker cannot serve anybody now.
    pub connack_unavailable: u64,
    /// Answers to a CONNECT that are no CONNACK.
    pub connack_missing: u64,
    /// New connections refused because more came in that time than the backend takes.
    pub paced: u64,
    /// New connections refused because the backend has as many as it takes.
    pub full: u64,
}

shared_type!(BackendCounters, 112);

impl BackendCounters {
    /// Adds the copy of another CPU.
    pub const fn add(&mut self, other: &Self) {
        self.packets_to_backend = self.packets_to_backend.wrapping_add(other.packets_to_backend);
        self.bytes_to_backend = self.bytes_to_backend.wrapping_add(other.bytes_to_backend);
        self.packets_to_client = self.packets_to_client.wrapping_add(other.packets_to_client);
        self.bytes_to_client = self.bytes_to_client.wrapping_add(other.bytes_to_client);
        self.attempted = self.attempted.wrapping_add(other.attempted);
        self.opened = self.opened.wrapping_add(other.opened);
        self.closed = self.closed.wrapping_add(other.closed);
        self.refused = self.refused.wrapping_add(other.refused);
        self.connack_accepted = self.connack_accepted.wrapping_add(other.connack_accepted);
        self.connack_refused = self.connack_refused.wrapping_add(other.connack_refused);
        self.connack_unavailable = self.connack_unavailable.wrapping_add(other.connack_unavailable);
        self.connack_missing = self.connack_missing.wrapping_add(other.connack_missing);
        self.paced = self.paced.wrapping_add(other.paced);
        self.full = self.full.wrapping_add(other.full);
    }
}
