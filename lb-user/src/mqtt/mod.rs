//! MQTT Control Packets, as far as the health checks speak them and the mode `mqtt` reads them; no
//! I/O.
//!
//! [`decode`] reads what clients and brokers send, in whatever pieces it comes.
//!
//! Own code, because the codecs that exist do not tell apart what decides over a broker's health
//! (they call a reserved code, or an MQTT 3.1.1 CONNACK that answers MQTT 5.0, malformed), and the
//! best kept one refuses a CONNECT of MQTT 5.0 with a password alone, which the standard allows. It
//! serves the tests as a judge.

mod connack;
mod connect;
pub mod decode;
mod disconnect;
mod field;
mod frame;
mod properties;
mod publish;
mod reason;
mod subscribe;
mod variable_byte_integer;

pub use connack::{Connack, ConnackError, ConnackProperties};
pub use connect::{Connect, EncodeError};
pub use disconnect::Disconnect;
pub use frame::{FixedHeader, HeaderError, PacketType};
pub use publish::Publish;
pub use subscribe::{SubackError, Subscribe, suback};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1, whose protocol is called `MQIsdp`, Protocol Version 3.
    V31,
    /// MQTT 3.1.1, Protocol Level 4.
    V311,
    /// MQTT 5.0, Protocol Version 5.
    V5,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V31 => "MQTT 3.1",
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        })
    }
}

impl Version {
    /// The protocol's name and level in a CONNECT.
    const fn name_and_level(self) -> (&'static str, u8) {
        match self {
            Self::V31 => ("MQIsdp", 3),
            Self::V311 => ("MQTT", 4),
            Self::V5 => ("MQTT", 5),
        }
    }
}

/// Whether a message can be published to it: one character or more, and no wildcard (section 4.7).
pub(crate) fn is_topic_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#'])
}

/// A PINGREQ packet, the same in both versions.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// A DISCONNECT packet that ends a connection normally, the same in both versions: MQTT 5.0 lets
/// reason code 0x00 be left out (section 3.14.2.1).
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
