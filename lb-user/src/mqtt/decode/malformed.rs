//! Why the first packet of a client is refused, and what the client is told.

use thiserror::Error;

use crate::mqtt::field::FieldError;
use crate::mqtt::properties::PropertyError;
use crate::mqtt::{Connack, Version};

/// What is wrong with the first packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Malformed {
    #[error("the first packet is no CONNECT")]
    NotConnect,
    #[error("a TLS handshake, which is not spoken here")]
    Tls,
    #[error("a Remaining Length of more than four bytes")]
    RemainingLength,
    #[error("the protocol's name is neither MQTT nor MQIsdp")]
    ProtocolName,
    #[error("a protocol level that belongs to the protocol's other name")]
    ProtocolLevel,
    #[error("a version of the protocol that is not supported")]
    UnsupportedVersion,
    #[error("reserved bits are set in the fixed header")]
    FixedHeaderFlags,
    #[error("the packet is larger than allowed")]
    PacketTooLarge,
    #[error("the reserved bit of the Connect Flags is set")]
    ReservedConnectFlag,
    #[error("a Will QoS of 3")]
    WillQos,
    #[error("Will QoS or Will Retain without a will")]
    WillFlagsWithoutWill,
    #[error("a password without a user name")]
    PasswordWithoutUsername,
    #[error("a field ends beyond the packet")]
    Truncated,
    #[error("bytes behind the last field")]
    TrailingBytes,
    #[error("a variable byte integer of more than four bytes")]
    LengthTooLong,
    #[error("a variable byte integer of more bytes than it needs")]
    LengthNotMinimal,
    #[error("a string that is not well-formed UTF-8")]
    Utf8,
    #[error("a string with U+0000")]
    NullCharacter,
    #[error("a property that does not exist")]
    UnknownProperty,
    #[error("a property that has no place there")]
    MisplacedProperty,
    #[error("the same property twice")]
    DuplicateProperty,
    #[error("a property with a value that is not allowed")]
    PropertyValue,
    #[error("Authentication Data without an Authentication Method")]
    AuthenticationMethodMissing,
    #[error("an empty Client Identifier, which only a clean session may have")]
    EmptyClientId,
    #[error("a Will Topic that is empty or has wildcards")]
    WillTopic,
}

impl Malformed {
    /// All of them, each once.
    pub const ALL: [Self; 25] = [
        Self::NotConnect,
        Self::Tls,
        Self::RemainingLength,
        Self::ProtocolName,
        Self::ProtocolLevel,
        Self::UnsupportedVersion,
        Self::FixedHeaderFlags,
        Self::PacketTooLarge,
        Self::ReservedConnectFlag,
        Self::WillQos,
        Self::WillFlagsWithoutWill,
        Self::PasswordWithoutUsername,
        Self::Truncated,
        Self::TrailingBytes,
        Self::LengthTooLong,
        Self::LengthNotMinimal,
        Self::Utf8,
        Self::NullCharacter,
        Self::UnknownProperty,
        Self::MisplacedProperty,
        Self::DuplicateProperty,
        Self::PropertyValue,
        Self::AuthenticationMethodMissing,
        Self::EmptyClientId,
        Self::WillTopic,
    ];

    /// The name it has in metrics and logs; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotConnect => "not_connect",
            Self::Tls => "tls",
            Self::RemainingLength => "remaining_length",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolLevel => "protocol_level",
            Self::UnsupportedVersion => "unsupported_version",
            Self::FixedHeaderFlags => "fixed_header_flags",
            Self::PacketTooLarge => "packet_too_large",
            Self::ReservedConnectFlag => "reserved_connect_flag",
            Self::WillQos => "will_qos",
            Self::WillFlagsWithoutWill => "will_flags_without_will",
            Self::PasswordWithoutUsername => "password_without_username",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::LengthTooLong => "length_too_long",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::Utf8 => "utf8",
            Self::NullCharacter => "null_character",
            Self::UnknownProperty => "unknown_property",
            Self::MisplacedProperty => "misplaced_property",
            Self::DuplicateProperty => "duplicate_property",
            Self::PropertyValue => "property_value",
            Self::AuthenticationMethodMissing => "authentication_method_missing",
            Self::EmptyClientId => "empty_client_id",
            Self::WillTopic => "will_topic",
        }
    }

    /// The reason code of MQTT 5.0 (sections 2.4 and 4.13).
    const fn reason_code(self) -> u8 {
        match self {
            Self::DuplicateProperty | Self::PropertyValue | Self::AuthenticationMethodMissing => {
                0x82
            }
            Self::ProtocolLevel | Self::UnsupportedVersion => 0x84,
            Self::EmptyClientId => 0x85,
            Self::WillTopic => 0x90,
            Self::PacketTooLarge => 0x95,
            _ => 0x81,
        }
    }
}

impl From<FieldError> for Malformed {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Truncated => Self::Truncated,
            FieldError::LengthTooLong => Self::LengthTooLong,
            FieldError::LengthNotMinimal => Self::LengthNotMinimal,
            FieldError::Utf8 => Self::Utf8,
            FieldError::NullCharacter => Self::NullCharacter,
        }
    }
}

impl From<PropertyError> for Malformed {
    fn from(error: PropertyError) -> Self {
        match error {
            PropertyError::Field(error) => error.into(),
            PropertyError::Unknown => Self::UnknownProperty,
            PropertyError::Misplaced => Self::MisplacedProperty,
            PropertyError::Duplicate => Self::DuplicateProperty,
            PropertyError::Value => Self::PropertyValue,
        }
    }
}

/// A first packet that is refused. The connection is closed after what [`Refusal::connack`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{malformed}")]
pub struct Refusal {
    pub malformed: Malformed,
    /// The version whose words the client understands; `None` if it does not speak MQTT.
    pub version: Option<Version>,
}

impl Refusal {
    /// The CONNACK the standard asks for or allows; `None` if the connection is to be closed
    /// without one.
    ///
    /// MQTT 3.1 and 3.1.1 have one for an unsupported version and for an empty Client Identifier
    /// (sections 3.1.2.2 and 3.1.3.1 of MQTT 3.1.1) and forbid it otherwise (section 3.1.4); MQTT
    /// 5.0 allows one for everything (section 4.13).
    #[must_use]
    pub fn connack(&self) -> Option<Vec<u8>> {
        Connack::refusal(self.version?, self.malformed.reason_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_labels_and_each_stands_for_one_reason() {
        let names: HashSet<_> = Malformed::ALL.iter().map(|malformed| malformed.name()).collect();
        assert_eq!(names.len(), Malformed::ALL.len());
        for name in names {
            let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(label), "{name}");
        }
    }

    #[test]
    fn only_mqtt_5_has_words_for_most_of_it() {
        let told = |version| {
            let refusal = |malformed: &Malformed| Refusal { malformed: *malformed, version };
            Malformed::ALL.iter().filter(|m| refusal(m).connack().is_some()).count()
        };
        assert_eq!(told(Some(Version::V5)), Malformed::ALL.len());
        assert_eq!(told(Some(Version::V311)), 3, "wrong level, unsupported version, identifier");
        assert_eq!(told(None), 0);
    }
}
