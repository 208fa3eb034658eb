//! The bodies of requests and answers. The answers of `GET` are those of [`crate::control::report`].

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::config::model::{Name, Weight};
pub use crate::control::{
    difference::Difference,
    rebalance::{RebalanceOrder, RebalanceReport},
    report::{
        BackendReport, BackendState, Changed, EjectedReport, Explanation, FlowFilter, FlowReport,
        Flows, HealthState, Reloaded, ServiceReport, ServiceState, Status, TablesReport, Traffic,
    },
    ring_diff::{
        BackendMoves, ConnectionMoves, RingChange, RingCommand, RingDiffReport, ServiceMoves,
    },
    sessions::{Forgotten, SessionFilter, SessionReport, SessionsReport},
    trace::{FrameReport, TraceEnd, TraceLine, TraceOrder, TracePacket, WhyEnded},
};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

/// A backend to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// Its name.
    pub name: Name,
    /// Where the broker listens.
    pub address: IpAddr,
    /// Where the broker listens; the service's port if left out.
    pub port: Option<u16>,
    /// Its weight; 100 if left out.
    pub weight: Option<Weight>,
}

/// Another weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWeight {
    /// The weight, 1 to 1000.
    pub weight: Weight,
}

/// Which backends are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendFilter {
    /// Only those of this service.
    pub service: Option<String>,
}

/// What is to be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The client.
    pub client: SocketAddr,
    /// The VIP and port that it connects to.
    pub vip: SocketAddr,
}

/// How to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadQuery {
    /// Only say what would change.
    pub dry_run: bool,
}

/// What became of the wish to end a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEnding {
    /// Whether there is one, which ends now.
    pub ends: bool,
}

/// How the balancer is, for supervisors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthz {
    /// Whether the controller is at work.
    pub ok: bool,
    /// Services that refuse new connections, because no backend takes them.
    pub refusing: Vec<Name>,
}
