//! What a client is told, and what it tells.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a client connects.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub version: Version,
    /// The authority (PEM) that the server's certificate must lead to; without it there is no TLS.
    pub ca: Option<PathBuf>,
    pub client_id: String,
    pub username: String,
    pub password: String,
    /// Whether it connects again after a second, as its library does that.
    pub reconnect: bool,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// As MQTT 3.1.1 has it, or as 5.0 has it.
    pub fn pick<T>(self, v311: T, v5: T) -> T {
        match self {
            Self::V311 => v311,
            Self::V5 => v5,
        }
    }
}

/// The protocol level.
impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.pick(4, 5))
    }
}

/// What it shall do.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    Subscribe {
        topic: String,
        qos: u8,
    },
    Publish {
        topic: String,
        qos: u8,
        payload: String,
        /// The user property `said`, with MQTT 5.0.
        property: Option<String>,
    },
    /// DISCONNECT, and end.
    Leave,
}

/// What has happened to it, by the words of its library.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Connected,
    /// A CONNACK with another code than 0.
    Refused {
        code: u8,
    },
    /// There was no CONNACK.
    Failed {
        text: String,
    },
    Subscribed {
        qos: u8,
    },
    /// Sent with QoS 0, acknowledged to the end with any other.
    Published,
    Received(Message),
    /// The connection ended, with the code of the DISCONNECT that said so.
    Disconnected {
        code: Option<u8>,
    },
    /// It went by itself.
    Left,
}

/// A message that has arrived.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Message {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub property: Option<String>,
}

/// Its beginning, as a failing test shows it.
impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, .. } = self;
        write!(formatter, "{topic} (QoS {qos}, {} bytes): {payload:.40}", payload.len())
    }
}
