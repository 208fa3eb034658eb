//! The beginning of a CONNECT, up to what decides how the rest is read: fixed header, name and
//! level of the protocol, Connect Flags, Keep Alive.
//!
//! It is read anew each time bytes arrive, until it is there or refused, so that nobody is kept
//! waiting for the end of a packet that will be refused anyway. It is at most 17 bytes.

use super::malformed::{Malformed, Refusal};
use crate::mqtt::field::Fields;
use crate::mqtt::{Version, variable_byte_integer as varint};

/// The beginning of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) flags: ConnectFlags,
    pub(super) keep_alive_s: u16,
    /// Bytes of the whole packet, fixed header included.
    pub(super) packet_bytes: usize,
    /// Bytes up to the end of the Keep Alive: where the properties or the payload begin.
    pub(super) bytes: usize,
    /// Bytes of the fixed header.
    pub(super) fixed_bytes: usize,
}

/// The Connect Flags (section 3.1.2.3 of MQTT 3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectFlags(pub(super) u8);

impl ConnectFlags {
    const RESERVED: u8 = 1;
    const CLEAN: u8 = 1 << 1;
    const WILL: u8 = 1 << 2;
    const WILL_QOS: u8 = 3 << 3;
    const WILL_RETAIN: u8 = 1 << 5;
    pub(super) const PASSWORD: u8 = 1 << 6;
    pub(super) const USERNAME: u8 = 1 << 7;

    pub(super) const fn clean_start(self) -> bool {
        self.0 & Self::CLEAN != 0
    }

    pub(super) const fn will(self) -> bool {
        self.0 & Self::WILL != 0
    }

    pub(super) const fn username(self) -> bool {
        self.0 & Self::USERNAME != 0
    }

    pub(super) const fn password(self) -> bool {
        self.0 & Self::PASSWORD != 0
    }

    fn check(self, version: Version) -> Result<(), Malformed> {
        let will_flags = self.0 & (Self::WILL_QOS | Self::WILL_RETAIN);
        if self.0 & Self::RESERVED != 0 {
            return Err(Malformed::ReservedConnectFlag);
        }
        if self.will() && self.0 & Self::WILL_QOS == Self::WILL_QOS {
            return Err(Malformed::WillQos);
        }
        // MQTT 3.1 disregards them.
        if !self.will() && will_flags != 0 && version != Version::V31 {
            return Err(Malformed::WillFlagsWithoutWill);
        }
        // MQTT 5.0 allows it (section 3.1.2.9).
        if self.password() && !self.username() && version != Version::V5 {
            return Err(Malformed::PasswordWithoutUsername);
        }
        Ok(())
    }
}

const CONNECT: u8 = 1;
/// The first byte of every TLS connection, also a CONNECT with reserved flags; what follows can be
/// none, as the next byte would be a Remaining Length of 3.
const TLS_HANDSHAKE: u8 = 0x16;
/// The high bit of the level, with which some brokers mark themselves when they connect as bridges;
/// they try again without when they are told that the level is unacceptable.
const BRIDGE: u8 = 0x80;

impl Head {
    /// Reads the beginning of a packet of at most `max_packet_bytes`; `None` while it is
    /// incomplete.
    pub(super) fn read(bytes: &[u8], max_packet_bytes: usize) -> Result<Option<Self>, Refusal> {
        let Some(first) = bytes.first() else { return Ok(None) };
        if *first == TLS_HANDSHAKE {
            return Err(Malformed::Tls.unheard());
        }
        if first >> 4 != CONNECT {
            return Err(Malformed::NotConnect.unheard());
        }
        let (remaining, behind) = match varint::decode(&bytes[1..]) {
            Ok(length) => length,
            Err(varint::Error::Incomplete) => return Ok(None),
            Err(varint::Error::TooLong) => return Err(Malformed::RemainingLength.unheard()),
        };
        let fixed_bytes = bytes.len() - behind.len();
        let packet_bytes = fixed_bytes + remaining as usize;
        let mut fields = Fields::new(&bytes[..packet_bytes.min(bytes.len())], fixed_bytes);
        // Bytes that are missing may still come, but not from beyond the end of the packet.
        let missing = |version| {
            let truncated = Refusal { malformed: Malformed::Truncated, version };
            if bytes.len() < packet_bytes { Ok(None) } else { Err(truncated) }
        };
        let version = match read_version(&mut fields) {
            Ok(Some(version)) => version,
            Ok(None) => return missing(None),
            Err(refusal) => return Err(refusal),
        };
        let refusal = |malformed| Refusal { malformed, version: Some(version) };
        if first & 0x0f != 0 {
            return Err(refusal(Malformed::FixedHeaderFlags));
        }
        if version == Version::V5 && fixed_bytes != 1 + varint::encoded_bytes(remaining) {
            return Err(refusal(Malformed::LengthNotMinimal));
        }
        if packet_bytes > max_packet_bytes {
            return Err(refusal(Malformed::PacketTooLarge));
        }
        let Ok(flags) = fields.byte().map(ConnectFlags) else { return missing(Some(version)) };
        flags.check(version).map_err(refusal)?;
        let Ok(keep_alive_s) = fields.two_bytes() else { return missing(Some(version)) };
        let bytes = fields.at();
        Ok(Some(Self { version, flags, keep_alive_s, packet_bytes, bytes, fixed_bytes }))
    }
}

/// The version that name and level of the protocol say; `None` while they are incomplete.
fn read_version(fields: &mut Fields) -> Result<Option<Version>, Refusal> {
    let bytes = match fields.two_bytes() {
        Ok(bytes @ (4 | 6)) => usize::from(bytes),
        Ok(_) => return Err(Malformed::ProtocolName.unheard()),
        Err(_) => return Ok(None),
    };
    let name = match fields.skip(bytes) {
        Ok(place) => fields.slice(&place),
        Err(_) => return Ok(None),
    };
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Malformed::ProtocolName.unheard());
    }
    let Ok(level) = fields.byte() else { return Ok(None) };
    match (name, level) {
        (b"MQTT", 4) => Ok(Some(Version::V311)),
        (b"MQTT", 5) => Ok(Some(Version::V5)),
        (b"MQIsdp", 3) => Ok(Some(Version::V31)),
        _ => Err(wrong_level(name, level)),
    }
}

fn wrong_level(name: &[u8], level: u8) -> Refusal {
    let malformed = if matches!(level, 3..=5) {
        Malformed::ProtocolLevel
    } else {
        Malformed::UnsupportedVersion
    };
    // What comes after MQTT 5.0 will know its codes; what came before knows those of 3.1.1.
    let later = name == b"MQTT" && level & !BRIDGE >= 5;
    let version = if later { Version::V5 } else { Version::V311 };
    Refusal { malformed, version: Some(version) }
}

impl Malformed {
    /// The refusal of a client whose version is not known.
    const fn unheard(self) -> Refusal {
        Refusal { malformed: self, version: None }
    }
}
