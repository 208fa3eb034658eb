//! MQTT Control Packets, as far as the health checks speak them; no I/O.
//!
//! Own code, because the codecs that exist do not tell apart what decides over a broker's health
//! (they call a reserved code, or an MQTT 3.1.1 CONNACK that answers MQTT 5.0, malformed), and the
//! best kept one refuses a CONNECT of MQTT 5.0 with a password alone, which the standard allows. It
//! serves the tests as a judge.

mod connack;
mod connect;
mod disconnect;
mod frame;
mod properties;
mod reason;
mod variable_byte_integer;

pub use connack::{Connack, ConnackError};
pub use connect::{Connect, EncodeError};
pub use disconnect::Disconnect;
pub use frame::{FixedHeader, HeaderError, PacketType};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, Protocol Level 4.
    V311,
    /// MQTT 5.0, Protocol Version 5.
    V5,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5.0",
        })
    }
}

/// A PINGREQ packet, the same in both versions.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// A DISCONNECT packet that ends a connection normally, the same in both versions: MQTT 5.0 lets
/// reason code 0x00 be left out (section 3.14.2.1).
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
