//! How a service in the mode `mqtt` accepts connections and leads them on.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{BrokerTls, LoadSettings, Prefix, ServerTls, TlsRoute, duration};

/// The settings of a service in the mode `mqtt`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MqttSettings {
    /// Which backend a connection gets.
    pub policy: Policy,
    /// What the policy `hash` is about.
    pub hash_key: HashKey,
    /// A regular expression; what its first group captures of the key is hashed, or the whole match
    /// if it has none.
    pub hash_capture: Option<String>,
    /// A backend is passed over that would have more than so many times its share of the
    /// connections, with the policies `hash` and `source`; `None` lets it have any number.
    pub bounded_load: Option<f64>,
    /// Connections with which a backend is full; the policy `fill_first` always has it.
    pub fill_connections: Option<u32>,
    /// Where brokers tell their own load; the policy `least_load` always has it, no other one does.
    pub load: Option<LoadSettings>,
    /// The longest CONNECT that is taken, in bytes, its fixed header included.
    pub max_connect_bytes: u32,
    /// The most bytes that all CONNECTs hold that have arrived in part, beyond a few each.
    pub connect_memory_bytes: u32,
    /// How long a CONNECT may take to arrive, from the moment of accepting; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub connect_within: Duration,
    /// The most connections that wait for their CONNECT at once; the oldest gives way to a new one.
    pub max_waiting: u32,
    /// How long a connection to a broker may take to be made; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub broker_connect_within: Duration,
    /// How long a broker may take to answer a CONNECT; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub connack_within: Duration,
    /// How many backends are tried before a client is refused; at least 1.
    pub attempts: u32,
    /// After so long without a byte TCP asks whether the other side is there; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub tcp_keepalive: Duration,
    /// How long sent bytes may stay unacknowledged; not zero.
    #[serde(serialize_with = "duration::serialize")]
    pub tcp_user_timeout: Duration,
    /// Whether a Client Identifier has one connection only, the newest.
    pub takeover: bool,
    /// The balancer's own addresses towards the brokers, each once, one of each family that backends
    /// have; none leaves the choice to the kernel.
    pub addresses: Vec<IpAddr>,
    /// Proxies in front, which say by the PROXY protocol who their clients are.
    pub proxy_protocol_from: Vec<Prefix>,
    /// How brokers are told who the client is.
    pub send_proxy_protocol: SendProxyProtocol,
    /// How fast clients are let in.
    pub pacing: Pacing,
    /// How clients return to the broker that has their session; `None` leaves it to the policy.
    pub sticky: Option<StickySettings>,
    /// Where each connection is logged that ended; `None` is nowhere. Absolute.
    pub connection_log: Option<PathBuf>,
    /// TLS towards clients; `None` means plain TCP.
    pub tls: Option<ServerTls>,
    /// TLS towards brokers; `None` means plain TCP.
    pub broker_tls: Option<BrokerTls>,
    /// Where TLS goes that is handed on as it is, by the name that clients ask for; empty where it is
    /// not, and then clients speak to the balancer.
    pub tls_passthrough: Vec<TlsRoute>,
}

/// How brokers are told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendProxyProtocol {
    /// They are not.
    Off,
    /// By version 1 of the PROXY protocol.
    V1,
    /// By version 2 of the PROXY protocol.
    V2,
}

/// How fast clients are let in, in CONNECTs per second; `None` is as fast as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pacing {
    /// From one IPv4 address, or one /64 of IPv6.
    pub source: Option<u32>,
    /// To all backends together.
    pub service: Option<u32>,
    /// To one backend.
    pub backend: Option<u32>,
    /// How long a client may wait for its turn.
    #[serde(serialize_with = "duration::serialize")]
    pub max_wait: Duration,
}

/// How clients return to the broker that has their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StickySettings {
    /// The most Client Identifiers that are remembered; who was not seen for longest is forgotten.
    pub entries: u32,
    /// What becomes of a client that went elsewhere while its broker was down.
    pub when_away: WhenAway,
}

/// What becomes of a client that went elsewhere while its broker was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenAway {
    /// It returns when its broker is back.
    ComeBack,
    /// It stays there.
    Stay,
}

/// Which backend a connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// One after the other, as often as their weights say.
    RoundRobin,
    /// Of two drawn by weight, the one with fewer connections for its weight.
    RandomOfTwo,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The one with the fewest connections for its weight and for the load that it tells of itself.
    LeastLoad,
    /// Always the same for one address of a client, as long as the backends stay the same.
    Source,
    /// Always the same for one key, as long as the backends stay the same.
    Hash,
    /// The first one that is not full, in the order of the configuration.
    FillFirst,
}

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The Client Identifier.
    ClientId,
    /// The user name; the Client Identifier where there is none.
    Username,
    /// The Common Name of the client's certificate; the Client Identifier where there is none.
    CertificateCn,
    /// The first Subject Alternative Name of the client's certificate; the Client Identifier where
    /// there is none.
    CertificateSan,
    /// The name that the client asks for by TLS (SNI); the Client Identifier where there is none, if
    /// the CONNECT is read.
    ServerName,
}
