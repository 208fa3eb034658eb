//! What follows the beginning of a CONNECT: properties, Client Identifier, will, user name,
//! password (section 3.1.3).

use std::ops::Range;

use super::head::Head;
use super::malformed::Malformed;
use crate::mqtt::field::Fields;
use crate::mqtt::properties::{self, Allowed, Properties, Value};
use crate::mqtt::{Version, is_topic_name};

/// Where the fields of a CONNECT lie in its packet, lengths left out unless stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) session_expiry_s: u32,
    /// Whether the client names an Authentication Method.
    pub(super) extended_authentication: bool,
    pub(super) client_id: Range<usize>,
    /// The whole will: properties, topic and message, with their lengths.
    pub(super) will: Option<Range<usize>>,
    pub(super) username: Option<Range<usize>>,
    pub(super) password: Option<Range<usize>>,
}

impl Payload {
    /// Reads a whole packet behind its `head`.
    pub(super) fn read(packet: &[u8], head: &Head) -> Result<Self, Malformed> {
        let mut fields = Fields::new(packet, head.bytes);
        let fields = &mut fields;
        let (session_expiry_s, extended_authentication) = match head.version {
            Version::V5 => connect_properties(fields)?,
            // The session ends with the connection or never.
            Version::V31 | Version::V311 => {
                (if head.flags.clean_start() { 0 } else { u32::MAX }, false)
            }
        };
        let client_id = client_id(fields, head)?;
        let will = if head.flags.will() { Some(will(fields, head.version)?) } else { None };
        let may_be_missing = head.version == Version::V31;
        let expected = |flag: bool, fields: &Fields| flag && !(may_be_missing && fields.is_empty());
        let username =
            if expected(head.flags.username(), fields) { Some(fields.text()?) } else { None };
        let password =
            if expected(head.flags.password(), fields) { Some(fields.binary()?) } else { None };
        if !fields.is_empty() {
            return Err(Malformed::TrailingBytes);
        }
        Ok(Self { session_expiry_s, extended_authentication, client_id, will, username, password })
    }
}

/// The Session Expiry Interval in seconds, and whether there is an Authentication Method (section
/// 3.1.2.11 of MQTT 5.0).
fn connect_properties(fields: &mut Fields) -> Result<(u32, bool), Malformed> {
    let (mut session_expiry_s, mut method, mut data) = (0, false, false);
    for property in Properties::at_front(fields, Allowed::CONNECT)? {
        match property? {
            (properties::SESSION_EXPIRY_INTERVAL, Value::Number(seconds)) => {
                session_expiry_s = seconds;
            }
            (properties::AUTHENTICATION_METHOD, _) => method = true,
            (properties::AUTHENTICATION_DATA, _) => data = true,
            _ => {}
        }
    }
    if data && !method {
        return Err(Malformed::AuthenticationMethodMissing);
    }
    Ok((session_expiry_s, method))
}

fn client_id(fields: &mut Fields, head: &Head) -> Result<Range<usize>, Malformed> {
    let place = fields.text()?;
    let may_be_empty = match head.version {
        Version::V31 => false,
        Version::V311 => head.flags.clean_start(),
        Version::V5 => true,
    };
    if place.is_empty() && !may_be_empty { Err(Malformed::EmptyClientId) } else { Ok(place) }
}

/// The place of the will, from its properties to its end.
fn will(fields: &mut Fields, version: Version) -> Result<Range<usize>, Malformed> {
    let start = fields.at();
    if version == Version::V5 {
        for property in Properties::at_front(fields, Allowed::WILL)? {
            property?;
        }
    }
    let topic = fields.text()?;
    if !is_topic_name(fields.str(&topic)) {
        return Err(Malformed::WillTopic);
    }
    fields.binary()?;
    Ok(start..fields.at())
}
