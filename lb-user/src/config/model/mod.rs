//! The validated model of a configuration: what exists here has been checked.
//!
//! Serialised, it shows everything but secrets; durations read as in the file ("28h").

mod admission;
mod duration;
mod health;
mod load;
mod mqtt;
mod name;
mod ports;
mod prefix;
mod secret;
mod service;
mod tls;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use lb_common::hash::Seed;
use serde::{Deserialize, Serialize};

pub use admission::{LoadLimits, PrefixRate, Sources, SynRate, SynRates};
pub use health::{
    Ejection, HealthCheck, HttpCheck, MqttCheck, MqttVersion, Password, Probe, StatusRange, Timing,
    Tls,
};
pub use load::{BasicAuth, LoadSettings, LoadSource, LoadValue};
pub use mqtt::{
    HashKey, MqttSettings, Pacing, Policy, SendProxyProtocol, StickySettings, WhenAway,
};
pub use name::{InvalidName, Name};
pub use ports::{PortRange, overlaps};
pub use prefix::{InvalidPrefix, Prefix};
pub use secret::Secret;
pub use service::{Affinity, AllDown, Backend, Guard, Mode, Refusal, Service, Weight};
pub use tls::{
    BrokerTls, CertificateFiles, CertificateName, ClientCertificates, ServerTls, TlsRoute,
    TlsVersion,
};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Interfaces that the XDP program is attached to, each once; at least one, unless all services
    /// are in the mode `mqtt`.
    pub interfaces: Vec<InterfaceSettings>,
    /// The balancer's side of the connections towards the brokers.
    pub nat: NatSettings,
    /// Where outer addresses of tunnelled packets come from.
    pub tunnel: TunnelSettings,
    /// Which sources may open connections to any service.
    pub sources: Sources,
    /// Key of the flow hash; `None` means one that is made at the first start and kept in
    /// `state_dir`.
    pub seed: Option<Secret<Seed>>,
    /// Sizes of the tables.
    pub limits: Limits,
    /// Times that hold for all services.
    pub timeouts: Timeouts,
    /// How the running controller is spoken to.
    pub api: ApiSettings,
    /// Where runtime changes and the seed are kept; absolute.
    pub state_dir: PathBuf,
    /// The directory in bpffs that holds maps, programs and links; absolute.
    pub pin_dir: PathBuf,
    /// Whether the controller adds and announces the VIPs itself.
    pub hold_vips: bool,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The services, at least one, in the order of the file.
    pub services: Vec<Service>,
}

impl Config {
    /// The service with this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }
}

/// An interface that the XDP program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceSettings {
    /// Its name, 1 to 15 bytes.
    pub name: String,
    /// How the program is attached.
    pub xdp: XdpMode,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// Native if the driver can, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's stack, on any interface, and slower.
    Generic,
}

/// The balancer's side of the connections towards the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NatSettings {
    /// The balancer's own addresses, each once, at most [`lb_common::backend::MAX_SOURCES`];
    /// one at least of each family that a service uses.
    pub addresses: Vec<IpAddr>,
    /// The source ports.
    pub ports: PortRange,
}

impl NatSettings {
    /// The IPv4 addresses, in the order of the file.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
    }

    /// The IPv6 addresses, in the order of the file.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(*v6),
        })
    }
}

/// Where outer addresses of tunnelled packets come from: a prefix of each family that a service in
/// mode `ipip` has backends of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TunnelSettings {
    /// The IPv4 prefix.
    pub v4: Option<Prefix>,
    /// The IPv6 prefix.
    pub v6: Option<Prefix>,
}

impl TunnelSettings {
    /// The prefix for the way to `destination`.
    #[must_use]
    pub const fn to(&self, destination: IpAddr) -> Option<Prefix> {
        if destination.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Sizes of the tables of the data plane, in entries; all above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Connections.
    pub connections: u32,
    /// Handshakes under way.
    pub pending: u32,
    /// Backends, all services together.
    pub backends: u32,
}

/// Times that hold for all services; none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// Age at which a handshake that was not completed is forgotten.
    #[serde(serialize_with = "duration::serialize")]
    pub pending: Duration,
    /// How long a closed connection is remembered.
    #[serde(serialize_with = "duration::serialize")]
    pub closed: Duration,
    /// How long a freed source port rests before it is used again.
    #[serde(serialize_with = "duration::serialize")]
    pub port_rest: Duration,
}

/// How the running controller is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiSettings {
    /// The Unix socket; absolute, at most 107 bytes.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub mode: u32,
    /// Where Prometheus metrics and /healthz are served over HTTP; `None` means nowhere.
    pub metrics: Option<SocketAddr>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogSettings {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// Shape of a log line.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something an operator should look at.
    Warn,
    /// What changed.
    Info,
    /// Every decision.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The name, as in the file and as `tracing` understands it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
