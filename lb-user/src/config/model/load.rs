//! Where brokers tell how loaded they are.

use std::time::Duration;

use serde::Serialize;

use super::{HttpCheck, MqttCheck, Password, duration};
use crate::load::{json::Pointer, prometheus::Selector};

/// Where a service in the mode `mqtt` reads the load of its brokers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadSettings {
    /// What is asked, and what of the answer is the load.
    pub source: LoadSource,
    /// The port that is asked; `None` means the backend's own.
    pub port: Option<u16>,
    /// From the start of a reading to the start of the next.
    #[serde(serialize_with = "duration::serialize")]
    pub interval: Duration,
    /// Time in which a reading must be complete, connecting included; at most `interval`.
    #[serde(serialize_with = "duration::serialize")]
    pub timeout: Duration,
    /// A load that was read longer ago is not known any more; at least `interval` and `timeout`.
    #[serde(serialize_with = "duration::serialize")]
    pub max_age: Duration,
}

/// What is asked for a broker's load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LoadSource {
    /// An HTTP endpoint of the broker.
    Http {
        /// The request; `{backend}` in its path stands for the backend's name.
        request: HttpCheck,
        /// Who asks; `None` is nobody.
        credentials: Option<BasicAuth>,
        /// What of the answer is the load.
        value: LoadValue,
    },
    /// A topic that the broker publishes about itself.
    Sys {
        /// Who connects, and how.
        client: MqttCheck,
        /// The topic, without wildcards.
        topic: String,
    },
}

/// Credentials for the authentication scheme Basic (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BasicAuth {
    /// The user, without a colon.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// What of an answer by HTTP is the load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadValue {
    /// A number in JSON.
    JsonPointer(Pointer),
    /// Samples in the text format of Prometheus.
    Metric(Selector),
}
