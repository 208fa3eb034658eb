//! What the controller says about itself: the answers of the API, as Rust types.

mod load;
mod traffic;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use crate::config::model::{AllDown, Mode, Name, Policy, Refusal};

pub use load::LoadReport;
pub use traffic::{Connacks, Traffic};

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running controller.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The configuration file.
    pub config: String,
    /// Interfaces that the XDP program is attached to.
    pub interfaces: Vec<String>,
    /// How the configuration file was read last.
    pub config_file: ConfigFileReport,
    /// Whether there are changes made by command that the file does not say.
    pub changed_by_command: bool,
    /// How the changes of the tables went.
    pub changes: ChangesReport,
    /// Fill of the tables.
    pub tables: TablesReport,
    /// Packets by verdict since the program was loaded.
    pub verdicts: BTreeMap<String, u64>,
    /// The services with their backends.
    pub services: Vec<ServiceReport>,
}

/// How the configuration file was read last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFileReport {
    /// Whether it was accepted.
    pub last_read_succeeded: bool,
    /// Unix time at which it was accepted last.
    pub accepted_at_s: u64,
}

/// Changes of the tables, whatever caused them: commands, reloads, health checks, clearing up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesReport {
    /// Those that were made.
    pub made: u64,
    /// Those that failed.
    pub failed: u64,
    /// How long the last one took that was made, in microseconds.
    pub last_took_us: u64,
}

/// Fill of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesReport {
    /// Entries in the connection table, closed ones included, at the last sweep.
    pub flows: u64,
    /// The most there can be.
    pub flows_limit: u64,
    /// Handshakes under way, at the last sweep.
    pub pending: u64,
    /// The most there can be.
    pub pending_limit: u64,
    /// Backends, removed ones that are not purged yet included.
    pub backends: u64,
    /// The most there can be.
    pub backends_limit: u64,
    /// How long the last sweep of the connection table took, in microseconds.
    pub last_sweep_us: u64,
    /// The balancer's source ports, by broker.
    pub brokers: Vec<BrokerPorts>,
}

/// The balancer's source ports towards one broker; the services that it is in share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerPorts {
    /// Where the broker listens.
    pub address: SocketAddr,
    /// Ports, over all of the balancer's addresses.
    pub ports: u64,
    /// Those that no new connection could have got at the last sweep: a flow has them, or they
    /// rest.
    pub ports_in_use: u64,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: Name,
    /// Where clients connect to.
    pub vip: IpAddr,
    /// Where clients connect to.
    pub port: u16,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How it is.
    pub state: ServiceState,
    /// See the configuration.
    pub idle_timeout_s: u64,
    /// See the configuration.
    pub no_backend: Refusal,
    /// See the configuration.
    pub all_down: AllDown,
    /// Kind of its health check, or `none`.
    pub check: String,
    /// Sums over its backends.
    pub traffic: Traffic,
    /// Where brokers answer directly: how many slots are in which state.
    pub slots: Option<SlotsReport>,
    /// In the mode `mqtt`: what happens before a client gets a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyReport>,
    /// Its backends, in the order of the configuration.
    pub backends: Vec<BackendReport>,
}

/// What happens in the mode `mqtt` before a client gets a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyReport {
    /// How backends are chosen.
    pub policy: Policy,
    /// Clients whose CONNECT has not arrived.
    pub waiting: u64,
    /// Clients that were not let in, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Lines that the log of connections lost, because the disk was too slow.
    pub log_lost: u64,
    /// When certificates that clients are shown end, and lists of revoked ones, by file; seconds since
    /// 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, i64>,
}

/// How many slots of a ring are in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsReport {
    /// New connections go elsewhere than those from before the last changes.
    pub in_transition: u32,
    /// Tables are asked where a connection belongs.
    pub looked_up: u32,
    /// Connections from before are being noted.
    pub learning: u32,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Every backend that is not drained takes new connections.
    Ok,
    /// Some backend is down.
    Degraded,
    /// All backends are down; the last known good ones still get the new connections.
    LastKnownGood,
    /// No backend takes new connections: they are refused.
    Refusing,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendReport {
    /// The name of its service.
    pub service: Name,
    /// Its name.
    pub name: Name,
    /// Where the broker listens.
    pub address: IpAddr,
    /// Where the broker listens.
    pub port: u16,
    /// Its number in the tables.
    pub id: u32,
    /// Its weight.
    pub weight: u16,
    /// What it does.
    pub state: BackendState,
    /// What its health checks say.
    pub health: HealthState,
    /// Seconds since they say so; `None` if it is not checked.
    pub health_since_s: Option<u64>,
    /// Unix time since which they say so; `None` if it is not checked.
    pub health_changed_at_s: Option<u64>,
    /// Failed checks in a row, up to now.
    pub consecutive_failures: u32,
    /// Why the last check failed, if it did.
    pub last_error: Option<String>,
    /// How long the last successful check took, in microseconds.
    pub check_latency_us: Option<u64>,
    /// Checks done, and failed ones among them.
    pub checks: (u64, u64),
    /// Why and how long it takes no new connections, if it is out for refusing clients.
    pub ejected: Option<EjectedReport>,
    /// How often it was taken out for that.
    pub ejections: u64,
    /// What it says of its own load, where the policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadReport>,
    /// Its slots of the ring.
    pub slots: u32,
    /// Its share of the new connections, 0 to 1.
    pub share: f64,
    /// What it may take.
    pub limits: LimitsReport,
    /// What it carries.
    pub traffic: Traffic,
    /// Seconds until `traffic.open` counts all its connections; 0 if it does. `None` while most of
    /// them are in no table: where brokers answer directly, unless it drains.
    pub open_known_in_s: Option<u64>,
}

/// What a backend may take; `None` is as much as comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsReport {
    /// New connections per second, as configured.
    pub new_per_second: Option<u32>,
    /// The same, now: less while it starts slowly.
    pub new_per_second_now: Option<u32>,
    /// Connections that are open.
    pub connections: Option<u32>,
}

/// What a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// Takes new connections.
    Active,
    /// Takes no new connections, keeps those it has; so an operator wants it.
    Draining,
    /// Takes no new connections, and has none left; so an operator wants it.
    Drained,
    /// Takes no new connections, because its check fails.
    Down,
    /// Takes no new connections, because its first check is under way.
    Checking,
    /// Takes no new connections for a while, because it refused too many clients.
    Ejected,
    /// Its check fails, as does that of all others: it still takes new connections.
    LastKnownGood,
}

/// What the health checks of a backend say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It is not checked.
    Unchecked,
    /// No check has ended yet.
    Unknown,
    /// It is up.
    Up,
    /// It is down.
    Down,
}

/// Why and how long a backend is out for refusing clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EjectedReport {
    /// Seconds until it is back.
    pub left_s: u64,
    /// Clients that it refused in the interval for which it was taken out.
    pub refused: u64,
    /// Clients that it answered then.
    pub answers: u64,
    /// How many times in a row it was taken out.
    pub times: u32,
}

/// Which flows are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowFilter {
    /// Only those of this service.
    pub service: Option<String>,
    /// Only those of this backend; names a backend of `service`.
    pub backend: Option<String>,
    /// Only those of this client.
    pub client: Option<IpAddr>,
    /// List at most so many; 0 lists none and counts all.
    pub limit: Option<usize>,
}

/// Flows of the connection table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// How many there are.
    pub count: u64,
    /// How many there are by `SERVICE/BACKEND`.
    pub by_backend: BTreeMap<String, u64>,
    /// Some or all of them, in no order.
    pub flows: Vec<FlowReport>,
}

/// A flow of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// The client.
    pub client: SocketAddr,
    /// Its service; `None` if that has been removed.
    pub service: Option<Name>,
    /// Its backend; `None` if that has been removed.
    pub backend: Option<Name>,
    /// The balancer's address and port towards the broker; `None` if it is of no known address.
    pub source: Option<SocketAddr>,
    /// Whether both sides have ended it.
    pub closed: bool,
    /// Seconds since its last packet, to about one second.
    pub idle_s: u64,
    /// Seconds of idleness after which it is forgotten.
    pub idle_timeout_s: u64,
    /// In the mode `mqtt`: the Client Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// In the mode `mqtt`: the user name, if the client gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// In the mode `mqtt`: the server that the client asked for by TLS, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// In the mode `mqtt`: bytes to the broker, and to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
}

/// Where a client's packets go, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The client.
    pub client: SocketAddr,
    /// What it connects to.
    pub vip: SocketAddr,
    /// The service at that address; `None` if there is none.
    pub service: Option<Name>,
    /// Slot of the ring that the client's address and port fall into.
    pub slot: Option<u32>,
    /// The slot's backend, as `SERVICE/BACKEND`: gets the connection if it is new.
    pub slot_backend: Option<String>,
    /// The tracked connection, if there is one.
    pub flow: Option<FlowReport>,
    /// Whether a handshake is under way, and the backend that it was begun with.
    pub pending_backend: Option<String>,
    /// The backend that gets the next packet; `None` if none does.
    pub backend: Option<String>,
    /// Where that backend listens.
    pub broker: Option<SocketAddr>,
    /// The reasons, one sentence each.
    pub why: Vec<String>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Whether there was anything to do.
    pub changed: bool,
    /// What was done, as a sentence.
    pub message: String,
    /// What the operator should know in addition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The backend afterwards; `None` if it was removed.
    pub backend: Option<BackendReport>,
}

/// What a reload did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether it was only asked for.
    pub dry_run: bool,
    /// What is different now.
    pub differences: Vec<Difference>,
    /// What the operator should know in addition.
    pub notes: Vec<String>,
}
