//! Services and their backends.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer};

use super::{Ejection, HealthCheck, LoadLimits, MqttSettings, Name, Sources, SynRates, duration};

/// One VIP address and TCP port, with its policy and its backends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Its name, unlike that of any other service.
    pub name: Name,
    /// The address that clients connect to: unicast, and no IPv4-mapped IPv6 address.
    pub vip: IpAddr,
    /// The port that clients connect to; not zero. No other service has this VIP and port.
    pub port: u16,
    /// How packets reach the backends.
    pub mode: Mode,
    /// Which connections go to the same backend.
    pub affinity: Affinity,
    /// Time without a packet after which a connection may be forgotten; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub idle_timeout: Duration,
    /// The answer to a new connection while no backend can take it.
    pub no_backend: Refusal,
    /// The answer to a segment of no known connection.
    pub unknown_flow: Refusal,
    /// What the first data of a connection must be.
    pub guard: Guard,
    /// Which sources may open connections.
    pub sources: Sources,
    /// How many SYNs it takes.
    pub syn_rates: SynRates,
    /// What a backend may take that says nothing else.
    #[serde(flatten)]
    pub limits: LoadLimits,
    /// How long a backend that comes up gets less than its rate of new connections.
    #[serde(serialize_with = "duration::serialize_option")]
    pub slow_start: Option<Duration>,
    /// What happens while every backend fails its health check.
    pub all_down: AllDown,
    /// How long a backend may be down before its connections are given up; `None` is for ever.
    #[serde(serialize_with = "duration::serialize_option")]
    pub dead_after: Option<Duration>,
    /// How long connections are tracked after a change of the backends, where brokers answer
    /// directly.
    #[serde(serialize_with = "duration::serialize")]
    pub rebase_after: Duration,
    /// How the backends are checked; `None` means that they are taken to be up.
    pub health: Option<HealthCheck>,
    /// When backends that refuse clients are taken out; `None` means never.
    pub ejection: Option<Ejection>,
    /// How connections are accepted and led on, in the mode `mqtt`; `None` in every other one.
    pub mqtt: Option<MqttSettings>,
    /// The backends, at least one, in the order of the file.
    pub backends: Vec<Backend>,
}

impl Service {
    /// The backend with this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == *name)
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.vip, self.port)
    }
}

/// A broker as a member of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Its name, unlike that of any other backend of its service.
    pub name: Name,
    /// Its address, of the family of the service's VIP. No other backend of its service has this
    /// address and port.
    pub address: IpAddr,
    /// Its port; not zero.
    pub port: u16,
    /// Its share of the new connections, relative to the other weights.
    pub weight: Weight,
    /// What it may take, where it is something else than the service says.
    #[serde(flatten)]
    pub limits: LoadLimits,
}

impl Backend {
    /// Where the broker listens.
    #[must_use]
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// The weight of a backend, 1 to 1000. There is no weight 0: a backend that is to take no new
/// connections is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Weight(u16);

/// A number that is no [`Weight`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a weight is {min} to {max}, not {0}", min = Weight::MIN, max = Weight::MAX)]
pub struct InvalidWeight(pub u16);

impl Weight {
    /// The least weight.
    pub const MIN: u16 = 1;
    /// The greatest weight.
    pub const MAX: u16 = 1000;
    /// The weight of a backend that is given none.
    pub const DEFAULT: Self = Self(100);

    /// The weight `value`; `None` unless it is 1 to 1000.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        if Self::MIN <= value && value <= Self::MAX { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Weight {
    type Error = InvalidWeight;

    fn try_from(value: u16) -> Result<Self, InvalidWeight> {
        Self::new(value).ok_or(InvalidWeight(value))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How packets reach the backends of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both addresses are rewritten; replies pass through the balancer.
    Nat,
    /// Direct server return: brokers on the same link hold the VIP and answer the client themselves.
    Dsr,
    /// The packet is wrapped into another one to the broker, which may be anywhere and of another
    /// family, holds the VIP and answers the client itself.
    Ipip,
    /// Connections are accepted in userspace, where the CONNECT decides; the data plane passes their
    /// packets to the kernel.
    Mqtt,
}

impl Mode {
    /// All of them, in the order in which they are proposed.
    pub const ALL: [Self; 4] = [Self::Nat, Self::Dsr, Self::Ipip, Self::Mqtt];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Mqtt => "mqtt",
        }
    }

    /// Whether brokers answer clients directly.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip)
    }

    /// Whether connections end in userspace.
    #[must_use]
    pub const fn is_proxied(self) -> bool {
        matches!(self, Self::Mqtt)
    }
}

/// Which connections of a service go to the same backend, as long as its backends stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Each for itself.
    Connection,
    /// Those of one client address.
    Client,
    /// Those of clients whose addresses share so many bits: 1 to what the VIP's family has.
    Prefix(u8),
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Client => f.write_str("client"),
            Self::Prefix(bits) => write!(f, "client/{bits}"),
        }
    }
}

impl Serialize for Affinity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How a segment that cannot be forwarded is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Answered with RST: the client knows at once.
    Reset,
    /// Dropped: the client runs into its timeout.
    Drop,
}

/// What the first data of a connection must be; if they are something else, it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// Anything.
    Off,
    /// The CONNECT of MQTT.
    Mqtt,
    /// The handshake of TLS.
    Tls,
}

/// What happens to new connections while every backend fails its health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// They go on to the backends that were up last.
    LastKnownGood,
    /// They are refused, as `no_backend` says.
    Refuse,
}
