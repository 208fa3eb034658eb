//! Health checks.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Secret, duration};

/// How the backends of a service are checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// When, and how often it must succeed or fail to count.
    pub timing: Timing,
    /// The port that is tried; `None` means the backend's own.
    pub port: Option<u16>,
}

/// When backends are checked, and how many results in a row change their state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// From the start of a check to the start of the next.
    #[serde(serialize_with = "duration::serialize")]
    pub interval: Duration,
    /// Time in which a check must be complete, connecting included; at most `interval`.
    #[serde(serialize_with = "duration::serialize")]
    pub timeout: Duration,
    /// Consecutive successes after which a backend is up; not zero.
    pub rise: u32,
    /// Consecutive failures after which a backend is down; not zero.
    pub fall: u32,
    /// How far each interval is varied at random, in percent of it, 0 to 100.
    pub jitter_percent: u8,
}

/// When backends that refuse clients are taken out: passive health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ejection {
    /// The share of refusals among the answers of an interval, in percent, 1 to 100.
    pub refused_percent: u8,
    /// Fewer answers than these in an interval say nothing; not zero.
    pub min_connects: u32,
    /// From one judgement to the next.
    #[serde(serialize_with = "duration::serialize")]
    pub interval: Duration,
    /// How long a backend is out the first time.
    #[serde(serialize_with = "duration::serialize")]
    pub eject_for: Duration,
    /// The longest time for which a backend is out; not shorter than that.
    #[serde(serialize_with = "duration::serialize")]
    pub max_eject_for: Duration,
    /// The most backends that may be out, in percent of the service's, 1 to 100.
    pub max_ejected_percent: u8,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Probe {
    /// Whether the port accepts a connection.
    Tcp,
    /// Whether an MQTT CONNECT is answered with a CONNACK that accepts it.
    Mqtt(MqttCheck),
    /// Whether an HTTP GET is answered with an expected status.
    Http(HttpCheck),
}

impl Probe {
    /// The name of its kind, as in the file.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mqtt(_) => "mqtt",
            Self::Http(_) => "http",
        }
    }

    /// Its TLS settings; `None` means plain TCP.
    #[must_use]
    pub const fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tcp => None,
            Self::Mqtt(check) => check.tls.as_ref(),
            Self::Http(check) => check.tls.as_ref(),
        }
    }
}

/// A check by MQTT.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MqttCheck {
    /// The version of the protocol that CONNECT names.
    pub version: MqttVersion,
    /// The Client Identifier, with `{host}`, `{service}` and `{backend}` to be filled in when
    /// the check is made ready.
    pub client_id: String,
    /// The User Name of CONNECT.
    pub username: Option<String>,
    /// The Password of CONNECT; with MQTT 3.1.1 only beside a user name.
    pub password: Option<Password>,
    /// Whether a PINGREQ must be answered, too.
    pub ping: bool,
    /// TLS settings; `None` means plain TCP.
    pub tls: Option<Tls>,
}

/// Version of the MQTT protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    /// MQTT 3.1.1, protocol level 4.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0, protocol level 5.
    #[serde(rename = "5")]
    V5,
}

/// Where the password of a check comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Password {
    /// The configuration itself.
    Inline(Secret<String>),
    /// A file, read when checks start; a line break at its end is not part of the password.
    File(PathBuf),
}

/// A check by HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpCheck {
    /// The request target; begins with a slash.
    pub path: String,
    /// The Host header; `None` means address and port of the backend.
    pub host: Option<String>,
    /// The statuses that count as success; at least one range.
    pub status: Vec<StatusRange>,
    /// TLS settings; `None` means plain TCP.
    pub tls: Option<Tls>,
}

impl HttpCheck {
    /// Whether a response with this status counts as success.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.status.iter().any(|range| range.first <= status && status <= range.last)
    }
}

/// A range of HTTP statuses, both ends included, 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatusRange {
    /// The first status.
    pub first: u16,
    /// The last status.
    pub last: u16,
}

/// TLS towards a backend, for a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Certificates (PEM) that the backend's must lead to; `None` means the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that the backend's certificate must hold, also sent as SNI; `None` means the
    /// backend's address.
    pub server_name: Option<String>,
    /// Whether any certificate is taken.
    pub insecure: bool,
}
