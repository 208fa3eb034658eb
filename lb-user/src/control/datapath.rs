//! The seam between what the controller decides and the tables that hold it.

use std::{collections::BTreeMap, io, time::Duration};

use lb_common::{
    admission::{Admission, ListKey, Listed},
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowKey},
    load::LoadLimits,
    ring::Ring,
    service::{Service, ServiceKey},
    settings::Settings,
    trace::TraceFilter,
};

use super::{direct::DirectRings, trace::TraceSource};
use crate::ring::transition::SlotSet;

/// One change to the tables of the data plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Writes the settings.
    PutSettings(Settings),
    /// Writes one of the balancer's own addresses.
    PutSource {
        /// Its number: index of the table of sources.
        number: u32,
        /// The address.
        source: Source,
    },
    /// Writes a backend, new or changed.
    PutBackend {
        /// Its number, 24 bits.
        id: u32,
        /// The entry.
        backend: Backend,
    },
    /// Zeroes the entry of a backend; its counters start again from zero. Before that, every packet
    /// is through that was under way at its purge.
    ClearBackend {
        /// Its number.
        id: u32,
    },
    /// Writes what new connections of a service must pass.
    PutAdmission {
        /// The service's id.
        service: u32,
        /// The entry.
        admission: Admission,
    },
    /// Writes an entry of a list of sources, new or changed.
    PutListed {
        /// Whose list, and the prefix.
        key: ListKey,
        /// What the list says about it.
        listed: Listed,
    },
    /// Removes an entry of a list of sources.
    RemoveListed {
        /// Whose list, and the prefix.
        key: ListKey,
    },
    /// Writes what a backend may take.
    PutLoadLimits {
        /// Its number.
        id: u32,
        /// The entry.
        limits: LoadLimits,
    },
    /// Writes a peer and creates its table of source ports; a peer that is there already keeps
    /// its table.
    PutPeer {
        /// Broker and source address.
        key: PeerKey,
        /// Its number: index of the tables of source ports.
        peer: u32,
    },
    /// Removes a peer with its table of source ports.
    RemovePeer {
        /// Broker and source address.
        key: PeerKey,
        /// Its number.
        peer: u32,
    },
    /// Replaces the ring of a service by one pointer swap. When it returns, no packet is under
    /// way on the old ring any more.
    PutRing {
        /// The service's id.
        service: u32,
        /// The whole ring.
        ring: Box<Ring>,
    },
    /// Removes the ring of a service.
    RemoveRing {
        /// The service's id.
        service: u32,
    },
    /// Writes a service under its key and under its id.
    PutService(Service),
    /// Removes a service under its key and under its id.
    RemoveService {
        /// Its key.
        key: ServiceKey,
        /// Its id.
        id: u32,
    },
    /// Zeroes the entry of a service that has another id by now.
    ClearService {
        /// Its former id.
        id: u32,
    },
    /// Deletes the flows and the pending flows of a backend; their source ports begin to rest.
    ///
    /// The entry of the backend has lost its `FORWARD` before, and no ring leads to it. A packet that
    /// read the entry before that may still be under way; nothing of it is left afterwards.
    Purge {
        /// The backend's number.
        backend: u32,
    },
}

impl std::fmt::Display for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PutSettings(_) => write!(f, "write the settings"),
            Self::PutSource { number, .. } => write!(f, "write source address {number}"),
            Self::PutBackend { id, .. } => write!(f, "write backend {id}"),
            Self::ClearBackend { id } => write!(f, "clear backend {id}"),
            Self::PutAdmission { service, .. } => {
                write!(f, "write what connections to service {service} must pass")
            }
            Self::PutListed { key, .. } => write!(f, "list {:?}", key.address),
            Self::RemoveListed { key } => write!(f, "take {:?} off the list", key.address),
            Self::PutLoadLimits { id, .. } => write!(f, "write the limits of backend {id}"),
            Self::PutPeer { peer, .. } => write!(f, "write peer {peer}"),
            Self::RemovePeer { peer, .. } => write!(f, "remove peer {peer}"),
            Self::PutRing { service, .. } => write!(f, "swap the ring of service {service}"),
            Self::RemoveRing { service } => write!(f, "remove the ring of service {service}"),
            Self::PutService(service) => write!(f, "write service {}", service.id),
            Self::RemoveService { id, .. } => write!(f, "remove service {id}"),
            Self::ClearService { id } => write!(f, "clear service {id}"),
            Self::Purge { backend } => write!(f, "purge the flows of backend {backend}"),
        }
    }
}

/// What one pass over the tables of flows found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Entries left in the connection table, closed ones included.
    pub flows: u64,
    /// Entries left in the pending table.
    pub pending: u64,
    /// Flows collected because they were idle, by backend; those that had been counted as closed
    /// before are not in it.
    pub expired: BTreeMap<u32, u64>,
    /// Connections that are open now, by backend.
    pub open: BTreeMap<u32, u64>,
    /// Slots, by service, that some table holds a flow of, where brokers answer directly.
    pub occupied: BTreeMap<u32, SlotSet>,
    /// Source ports that no new connection can get now, by peer: a flow has them, or they rest.
    pub ports: BTreeMap<u32, u64>,
}

/// The tables of the data plane, as the controller sees them.
///
/// Every method may take as long as a system call or many; call it where blocking is allowed.
pub trait Datapath: Send {
    /// Makes one change. After an error it may be made, in part or not at all: making it again makes
    /// it whole, and the opposite change undoes whatever was made.
    fn apply(&mut self, edit: &Edit) -> Result<(), DatapathError>;

    /// Does ahead, for all of these edits together, what takes the kernel its time for each. Nothing
    /// that a packet could notice changes; the edits follow by [`Datapath::apply`].
    fn prepare(&mut self, _edits: &[Edit]) -> Result<(), DatapathError> {
        Ok(())
    }

    /// Packets by verdict, in the order of [`lb_common::verdict::Verdict::ALL`], summed over CPUs.
    fn verdicts(&self) -> Result<Vec<u64>, DatapathError>;

    /// The counters of these backends, in this order, summed over CPUs.
    fn backend_counters(&self, ids: &[u32]) -> Result<Vec<BackendCounters>, DatapathError>;

    /// Collects the flows of the connection table and of the pending table whose time is over at
    /// tick `now`, and counts those that are left. Of the services in `direct` also those flows
    /// that `base` says where they belong to.
    fn sweep(&mut self, now: u32, direct: &DirectRings) -> Result<SweepReport, DatapathError>;

    /// Collects only the handshakes whose time is over at tick `now`; returns how many are left.
    fn sweep_pending(&mut self, now: u32) -> Result<u64, DatapathError>;

    /// Calls `visit` for every entry of the connection table, in no order. Entries that change
    /// meanwhile may be missed or be seen twice.
    fn flows(&self, visit: &mut dyn FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError>;

    /// The entry of the connection table for `key`.
    fn flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError>;

    /// The entry of the pending table for `key`.
    fn pending_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError>;

    /// The entry of the table of learned flows for `key`.
    fn learned_flow(&self, key: &FlowKey) -> Result<Option<Flow>, DatapathError>;

    /// All lists of sources, as they are.
    fn lists(&self) -> Result<BTreeMap<ListKey, Listed>, DatapathError>;

    /// The ring of a service as it is; `None` if it has none.
    fn ring(&self, service: u32) -> Result<Option<Box<Ring>>, DatapathError>;

    /// The slots of a service with flows that could not be learned.
    fn missed(&self, service: u32) -> SlotSet;

    /// Forgets that flows of `slots` could not be learned.
    fn clear_missed(&mut self, service: u32, slots: &SlotSet);

    /// What must be done, on any thread, before [`Datapath::start_trace`] works. It takes a while, and
    /// privileges that the controller has given up.
    fn trace_preparation(&self) -> Option<Preparation> {
        None
    }

    /// Lets packets that fit `filter`, whose time is set by this, be told of for as long as `lasts`.
    fn start_trace(
        &mut self,
        _filter: &TraceFilter,
        _lasts: Duration,
    ) -> Result<Box<dyn TraceSource>, DatapathError> {
        Err(DatapathError::Refused("this data plane cannot tell of packets".to_owned()))
    }

    /// No packet is told of any more.
    fn stop_trace(&mut self) -> Result<(), DatapathError> {
        Ok(())
    }
}

/// See [`Datapath::trace_preparation`].
pub type Preparation = Box<dyn FnOnce() -> Result<(), DatapathError> + Send>;

/// Why the data plane refused.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A system call on a table failed.
    #[error("map {map}: {operation}: {source}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was tried, such as `update of key 7`.
        operation: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Something is full, of another layout, or not what it must be.
    #[error("{0}")]
    Refused(String),
}
