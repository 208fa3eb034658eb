//! The CONNECT packet of a client that keeps no session.

use thiserror::Error;

use super::field::append;
use super::{Version, variable_byte_integer};

/// What a CONNECT says; Clean Session (Clean Start) is always set and there is no Will.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a str,
    /// The Keep Alive, in seconds.
    pub keep_alive_s: u16,
    pub username: Option<&'a str>,
    /// With MQTT 3.1 and 3.1.1 only beside a user name.
    pub password: Option<&'a [u8]>,
}

/// A CONNECT that no packet can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    #[error("the Client Identifier is longer than 65535 bytes")]
    ClientId,
    #[error("the user name is longer than 65535 bytes")]
    Username,
    #[error("the password is longer than 65535 bytes")]
    Password,
    #[error("MQTT before 5.0 allows no password without a user name")]
    PasswordAlone,
}

const PASSWORD_FLAG: u8 = 1 << 6;
const USERNAME_FLAG: u8 = 1 << 7;
const CLEAN_FLAG: u8 = 1 << 1;

impl Connect<'_> {
    /// The packet's bytes (section 3.1 of each version).
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.version != Version::V5 && self.password.is_some() && self.username.is_none() {
            return Err(EncodeError::PasswordAlone);
        }
        let (name, level) = self.version.name_and_level();
        let mut body = Vec::new();
        // Both names are short.
        let _ = append(&mut body, name.as_bytes());
        body.push(level);
        body.push(self.flags());
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == Version::V5 {
            // No properties: the session then ends with the connection.
            body.push(0);
        }
        append(&mut body, self.client_id.as_bytes()).ok_or(EncodeError::ClientId)?;
        if let Some(username) = self.username {
            append(&mut body, username.as_bytes()).ok_or(EncodeError::Username)?;
        }
        if let Some(password) = self.password {
            append(&mut body, password).ok_or(EncodeError::Password)?;
        }
        let mut packet = vec![0x10];
        // Three fields of at most 64 KiB: far below the largest packet.
        variable_byte_integer::encode(body.len() as u32, &mut packet);
        packet.append(&mut body);
        Ok(packet)
    }

    fn flags(&self) -> u8 {
        let username = if self.username.is_some() { USERNAME_FLAG } else { 0 };
        let password = if self.password.is_some() { PASSWORD_FLAG } else { 0 };
        CLEAN_FLAG | username | password
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
    use proptest::option::of;
    use proptest::prelude::*;

    const PLAIN: Connect = Connect {
        version: Version::V311,
        client_id: "me",
        keep_alive_s: 30,
        username: None,
        password: None,
    };

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        // Section 3.1 of MQTT 3.1.1, put together by hand.
        let expected = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x1e\x00\x02me";
        assert_eq!(PLAIN.encode().unwrap(), expected);
        // MQTT 3.1 has another name.
        let expected = b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x1e\x00\x02me";
        assert_eq!(Connect { version: Version::V31, ..PLAIN }.encode().unwrap(), expected);
        // MQTT 5.0 adds the level and an empty list of properties.
        let expected = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x1e\x00\x00\x02me";
        assert_eq!(Connect { version: Version::V5, ..PLAIN }.encode().unwrap(), expected);
    }

    #[test]
    fn credentials_follow_the_client_identifier() {
        let connect = Connect { username: Some("u"), password: Some(b"pw"), ..PLAIN };
        let expected = b"\x10\x15\x00\x04MQTT\x04\xc2\x00\x1e\x00\x02me\x00\x01u\x00\x02pw";
        assert_eq!(connect.encode().unwrap(), expected);
    }

    #[test]
    fn a_connect_that_cannot_be_sent_is_refused() {
        let long = "x".repeat(65_536);
        let alone = Connect { password: Some(b"pw"), ..PLAIN };
        assert_eq!(alone.encode(), Err(EncodeError::PasswordAlone));
        assert!(Connect { version: Version::V5, ..alone }.encode().is_ok(), "MQTT 5.0 allows it");
        assert_eq!(Connect { client_id: &long, ..PLAIN }.encode(), Err(EncodeError::ClientId));
        let username = Connect { username: Some(&long), ..PLAIN };
        assert_eq!(username.encode(), Err(EncodeError::Username));
        let password = Connect { password: Some(long.as_bytes()), username: Some("u"), ..PLAIN };
        assert_eq!(password.encode(), Err(EncodeError::Password));
    }

    proptest! {
        #[test]
        fn another_codec_reads_what_was_meant(
            client_id in "[a-z0-9-]{1,40}",
            keep_alive_s: u16,
            login in of(("\\PC{0,40}", of(proptest::collection::vec(any::<u8>(), 0..200)))),
        ) {
            let username = login.as_ref().map(|(name, _)| name.as_str());
            let password = login.as_ref().and_then(|(_, password)| password.as_deref());
            for version in [Version::V311, Version::V5] {
                let connect =
                    Connect { version, client_id: &client_id, keep_alive_s, username, password };
                let packet = connect.encode().unwrap();
                let (length, body) = variable_byte_integer::decode(&packet[1..]).unwrap();
                prop_assert_eq!(length as usize, body.len());
                macro_rules! judge {
                    ($parsed:expr) => {{
                        let (read, used) = $parsed.unwrap();
                        prop_assert_eq!(used, body.len());
                        prop_assert_eq!(read.client_id(), client_id.as_str());
                        prop_assert_eq!(read.keep_alive(), keep_alive_s);
                        prop_assert_eq!(read.user_name(), username);
                        prop_assert_eq!(read.password(), password);
                        prop_assert!(read.clean_start() && !read.will_flag());
                    }};
                }
                if version == Version::V5 {
                    judge!(v5_0::Connect::parse(body));
                } else {
                    judge!(v3_1_1::Connect::parse(body));
                }
            }
        }
    }
}
