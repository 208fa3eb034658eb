//! What a backend or a service carries.

use serde::{Deserialize, Serialize};

/// Connections, packets and bytes. All but `open` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that are open now.
    pub open: u64,
    /// Connection attempts.
    pub attempted: u64,
    /// Connections whose handshake was completed.
    pub opened: u64,
    /// Connections that ended by FIN or RST.
    pub closed: u64,
    /// Segments refused because the backend is gone.
    pub refused: u64,
    /// New connections refused because more came in that time than it takes.
    pub paced: u64,
    /// New connections refused because it has as many as it takes.
    pub full: u64,
    /// Answers to a CONNECT, as they passed by. Not where brokers answer directly.
    pub connacks: Connacks,
    /// Packets towards the broker.
    pub packets_to_backend: u64,
    /// Bytes of these, IP headers included.
    pub bytes_to_backend: u64,
    /// Packets towards the clients.
    pub packets_to_client: u64,
    /// Bytes of these, IP headers included.
    pub bytes_to_client: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.open += other.open;
        self.attempted += other.attempted;
        self.opened += other.opened;
        self.closed += other.closed;
        self.refused += other.refused;
        self.paced += other.paced;
        self.full += other.full;
        self.connacks += other.connacks;
        self.packets_to_backend += other.packets_to_backend;
        self.bytes_to_backend += other.bytes_to_backend;
        self.packets_to_client += other.packets_to_client;
        self.bytes_to_client += other.bytes_to_client;
    }
}

/// What a broker answered to CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connacks {
    /// Accepted.
    pub accepted: u64,
    /// Refused for a reason that lies with the client, such as its password.
    pub refused: u64,
    /// Refused because the broker is unavailable, busy, over a quota, or names another one.
    pub unavailable: u64,
    /// Something else than a CONNACK.
    pub missing: u64,
}

impl std::ops::AddAssign for Connacks {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.missing += other.missing;
    }
}
