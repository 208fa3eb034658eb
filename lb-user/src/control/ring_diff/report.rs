//! What may be asked about a change of rings, and the answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::model::{Mode, Name, Weight};

/// A change that is not to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingChange {
    /// The text of a configuration file, to be reloaded.
    pub file: Option<String>,
    /// Commands. Without them and without a text, the file of the controller would be reloaded.
    pub commands: Vec<RingCommand>,
}

/// A command that changes a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RingCommand {
    /// Adds a backend.
    Add {
        /// The service.
        service: String,
        /// Its name.
        name: Name,
        /// Where the broker listens.
        address: IpAddr,
        /// Where the broker listens; the service's port if left out.
        port: Option<u16>,
        /// Its weight; 100 if left out.
        weight: Option<Weight>,
    },
    /// Gives a backend another weight.
    Weight {
        /// The service.
        service: String,
        /// The backend.
        name: String,
        /// The weight.
        weight: Weight,
    },
    /// Drains a backend.
    Drain {
        /// The service.
        service: String,
        /// The backend.
        name: String,
    },
    /// Ends that.
    Undrain {
        /// The service.
        service: String,
        /// The backend.
        name: String,
    },
    /// Removes a backend.
    Remove {
        /// The service.
        service: String,
        /// The backend.
        name: String,
    },
}

/// What a change would move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingDiffReport {
    /// Services whose slots or connections are concerned.
    pub services: Vec<ServiceMoves>,
    /// What the operator should know in addition.
    pub notes: Vec<String>,
}

/// What a change would move of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceMoves {
    /// Its name.
    pub service: Name,
    /// How packets reach its backends.
    pub mode: Mode,
    /// Slots of a ring.
    pub slots: u32,
    /// Slots that get another owner: new connections of these go elsewhere.
    pub moved: u32,
    /// The backends before and afterwards.
    pub backends: Vec<BackendMoves>,
    /// Live connections, as far as tables hold them.
    pub connections: ConnectionMoves,
}

/// What a backend gains and loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendMoves {
    /// Its name.
    pub name: Name,
    /// Its slots now.
    pub slots_before: u32,
    /// Its slots afterwards.
    pub slots_after: u32,
    /// Slots it gets from others.
    pub gains: u32,
    /// Slots it gives to others.
    pub loses: u32,
    /// Its live connections, as far as tables hold them.
    pub connections: u64,
    /// Whether it is there no more afterwards: its connections are reset.
    pub removed: bool,
}

/// Live connections of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionMoves {
    /// Those that tables hold.
    pub known: u64,
    /// Of these: those that stay where they are, but whose clients would get another backend if
    /// they connected again.
    pub on_moved_slots: u64,
    /// Of these: those that are reset, because their backend is removed.
    pub reset: u64,
    /// Whether the tables hold all connections. Where brokers answer directly they hold only those
    /// that slots in transition need.
    pub complete: bool,
}
