//! A CONNECT with another user name or Client Identifier, such as the name in a client certificate.

use thiserror::Error;

use super::connect::Connect;
use super::head::{ConnectFlags, Head};
use super::malformed::Malformed;
use super::payload::Payload;
use crate::mqtt::field::append;
use crate::mqtt::variable_byte_integer as varint;

/// What to put in place of what the client sent; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    pub client_id: Option<&'a str>,
    /// Also given to a client that sent none. A password is left as it is.
    pub username: Option<&'a str>,
}

/// A CONNECT that no packet can carry, or that the standard forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RewriteError {
    #[error("the new Client Identifier is longer than 65535 bytes")]
    ClientId,
    #[error("the new user name is longer than 65535 bytes")]
    Username,
    #[error("the new CONNECT is longer than a packet can be")]
    Packet,
    #[error("the new CONNECT would have {0}")]
    Malformed(Malformed),
}

impl Connect {
    /// The CONNECT with what `rewrite` puts in place, and with what arrived behind it. Everything
    /// else stays, byte for byte, but for the Remaining Length, and for flags of fields that MQTT
    /// 3.1 allows to be missing.
    pub fn rewrite(&self, rewrite: Rewrite) -> Result<Self, RewriteError> {
        let body = self.body(rewrite)?;
        let remaining = u32::try_from(body.len()).ok().filter(|bytes| *bytes <= varint::MAX);
        let mut bytes = Vec::with_capacity(body.len() + 5 + self.behind().len());
        bytes.push(0x10);
        varint::encode(remaining.ok_or(RewriteError::Packet)?, &mut bytes);
        bytes.extend(body);
        // Read as the broker will read it: what is put in place may be what the standard forbids.
        let head = Head::read(&bytes, usize::MAX)
            .map_err(|refusal| RewriteError::Malformed(refusal.malformed))?
            .ok_or(RewriteError::Malformed(Malformed::Truncated))?;
        let payload = Payload::read(&bytes, &head).map_err(RewriteError::Malformed)?;
        bytes.extend(self.behind());
        Ok(Self::new(bytes, head, payload))
    }

    /// What follows the fixed header.
    fn body(&self, rewrite: Rewrite) -> Result<Vec<u8>, RewriteError> {
        let Payload { client_id, will, username, password, .. } = &self.payload;
        let head = &self.head;
        let mut body = self.slice(&(head.fixed_bytes..head.bytes)).to_vec();
        let username = rewrite
            .username
            .map(str::as_bytes)
            .or_else(|| username.as_ref().map(|place| self.slice(place)));
        let password = password.as_ref().map(|place| self.slice(place));
        // The flags stand before the two bytes of the Keep Alive.
        if let [.., flags, _, _] = body.as_mut_slice() {
            *flags = head.flags.with_credentials(username.is_some(), password.is_some()).0;
        }
        // The properties of MQTT 5.0, up to the length of the Client Identifier.
        body.extend(self.slice(&(head.bytes..client_id.start - 2)));
        let id = rewrite.client_id.map_or(self.slice(client_id), str::as_bytes);
        append(&mut body, id).ok_or(RewriteError::ClientId)?;
        if let Some(place) = will {
            body.extend(self.slice(place));
        }
        if let Some(username) = username {
            append(&mut body, username).ok_or(RewriteError::Username)?;
        }
        if let Some(password) = password {
            // It has come in a field and fits into one.
            let _ = append(&mut body, password);
        }
        Ok(body)
    }
}

impl ConnectFlags {
    const fn with_credentials(self, username: bool, password: bool) -> Self {
        let others = self.0 & !(Self::USERNAME | Self::PASSWORD);
        let username = if username { Self::USERNAME } else { 0 };
        let password = if password { Self::PASSWORD } else { 0 };
        Self(others | username | password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::decode::ConnectDecoder;

    fn connect(bytes: &[u8]) -> Connect {
        ConnectDecoder::new(1 << 20).feed(bytes).unwrap().unwrap()
    }

    fn named(username: &str) -> Rewrite<'_> {
        Rewrite { username: Some(username), ..Rewrite::default() }
    }

    fn identified(client_id: &str) -> Rewrite<'_> {
        Rewrite { client_id: Some(client_id), ..Rewrite::default() }
    }

    /// MQTT 3.1.1, clean session, Keep Alive 30, Client Identifier `me`, PINGREQ behind it.
    const PLAIN: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\x1e\0\x02me\xc0\0";

    #[test]
    fn a_username_is_put_in_with_its_flag() {
        let written = connect(PLAIN).rewrite(named("cn")).unwrap();
        assert_eq!(written.bytes(), b"\x10\x12\0\x04MQTT\x04\x82\0\x1e\0\x02me\0\x02cn\xc0\0");
        assert_eq!((written.username(), written.behind()), (Some("cn"), &b"\xc0\0"[..]));
    }

    #[test]
    fn everything_else_stays_where_it_was() {
        // MQTT 5.0: Receive Maximum 10, a will of QoS 1 with a delay, user name, password.
        let before = b"\x10\x2f\0\x04MQTT\x05\xce\0\x1e\x03\x21\0\x0a\0\x02me\
            \x05\x18\0\0\0\x09\0\x03t/1\0\x01w\0\x03old\0\x02pw";
        let after = b"\x10\x2f\0\x04MQTT\x05\xce\0\x1e\x03\x21\0\x0a\0\x03dev\
            \x05\x18\0\0\0\x09\0\x03t/1\0\x01w\0\x02cn\0\x02pw";
        let mut before = before.to_vec();
        before[1] = (before.len() - 2) as u8;
        let mut after = after.to_vec();
        after[1] = (after.len() - 2) as u8;
        let rewrite = Rewrite { client_id: Some("dev"), username: Some("cn") };
        assert_eq!(connect(&before).rewrite(rewrite).unwrap().bytes(), after);
        assert_eq!(connect(&before).rewrite(Rewrite::default()).unwrap().bytes(), before);
    }

    #[test]
    fn the_remaining_length_grows_by_a_byte_where_it_must() {
        let long = "x".repeat(200);
        let written = connect(PLAIN).rewrite(identified(&long)).unwrap();
        assert_eq!(written.packet()[..3], [0x10, 0xd4, 0x01]);
        assert_eq!(connect(written.bytes()), written);
    }

    #[test]
    fn what_mqtt_3_1_lets_be_missing_has_no_flag_any_more() {
        let missing = connect(b"\x10\x10\0\x06MQIsdp\x03\xc2\0\x1e\0\x02me");
        assert_eq!((missing.username(), missing.has_password()), (None, false));
        let written = missing.rewrite(named("cn")).unwrap();
        assert_eq!(written.bytes(), b"\x10\x14\0\x06MQIsdp\x03\x82\0\x1e\0\x02me\0\x02cn");
    }

    #[test]
    fn what_the_standard_forbids_is_not_written() {
        let long = "x".repeat(65_536);
        let error = |packet, rewrite| connect(packet).rewrite(rewrite).unwrap_err();
        assert_eq!(error(PLAIN, named(&long)), RewriteError::Username);
        assert_eq!(error(PLAIN, identified(&long)), RewriteError::ClientId);
        let null = RewriteError::Malformed(Malformed::NullCharacter);
        assert_eq!(error(PLAIN, named("c\0n")), null);
        let kept_session = b"\x10\x0e\0\x04MQTT\x04\0\0\x1e\0\x02me";
        let empty = RewriteError::Malformed(Malformed::EmptyClientId);
        assert_eq!(error(kept_session, identified("")), empty);
    }
}
