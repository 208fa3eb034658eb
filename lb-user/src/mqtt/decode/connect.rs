//! A CONNECT that a client has sent.

use std::ops::Range;

use super::head::Head;
use super::payload::Payload;
use crate::mqtt::Version;

/// A CONNECT as it arrived, its fields, and what arrived behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    bytes: Vec<u8>,
    pub(super) head: Head,
    pub(super) payload: Payload,
}

impl Connect {
    pub(super) const fn new(bytes: Vec<u8>, head: Head, payload: Payload) -> Self {
        Self { bytes, head, payload }
    }

    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }

    /// Whether the client wants a new session: Clean Start, Clean Session before MQTT 5.0.
    #[must_use]
    pub const fn clean_start(&self) -> bool {
        self.head.flags.clean_start()
    }

    /// The Keep Alive in seconds; 0 is none.
    #[must_use]
    pub const fn keep_alive_s(&self) -> u16 {
        self.head.keep_alive_s
    }

    /// How long the session lasts beyond the connection, in seconds; `u32::MAX` is for ever. Before
    /// MQTT 5.0 a clean session ends with it, and any other never.
    #[must_use]
    pub const fn session_expiry_s(&self) -> u32 {
        self.payload.session_expiry_s
    }

    /// The Client Identifier; empty if the broker is to assign one.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.text(&self.payload.client_id)
    }

    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.payload.username.as_ref().map(|place| self.text(place))
    }

    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.payload.password.is_some()
    }

    #[must_use]
    pub const fn has_will(&self) -> bool {
        self.payload.will.is_some()
    }

    /// Whether the client names an Authentication Method, so that the broker may answer with AUTH
    /// before CONNACK (section 4.12 of MQTT 5.0).
    #[must_use]
    pub const fn extended_authentication(&self) -> bool {
        self.payload.extended_authentication
    }

    /// The packet, byte for byte.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.slice(&(0..self.head.packet_bytes))
    }

    /// What arrived behind the packet: a client need not wait for CONNACK (section 3.1.4).
    #[must_use]
    pub fn behind(&self) -> &[u8] {
        self.bytes.get(self.head.packet_bytes..).unwrap_or_default()
    }

    /// The packet and what arrived behind it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The packet and what arrived behind it, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn slice(&self, place: &Range<usize>) -> &[u8] {
        // All places lie in the packet; the decoder has found them there.
        self.bytes.get(place.clone()).unwrap_or_default()
    }

    fn text(&self, place: &Range<usize>) -> &str {
        // The decoder has found it well-formed.
        std::str::from_utf8(self.slice(place)).unwrap_or_default()
    }
}

/// Without the bytes: they hold a password.
impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version())
            .field("clean_start", &self.clean_start())
            .field("keep_alive_s", &self.keep_alive_s())
            .field("session_expiry_s", &self.session_expiry_s())
            .field("client_id", &self.client_id())
            .field("username", &self.username())
            .field("has_password", &self.has_password())
            .field("has_will", &self.has_will())
            .field("packet_bytes", &self.head.packet_bytes)
            .finish_non_exhaustive()
    }
}
