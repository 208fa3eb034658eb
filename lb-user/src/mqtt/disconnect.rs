//! The DISCONNECT packet a broker of MQTT 5.0 may send.

use super::reason;

/// Why a broker ends the connection (section 3.14 of MQTT 5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub code: u8,
}

impl Disconnect {
    /// Reads what follows the fixed header; without any byte the code is 0x00. Its properties are
    /// not looked at.
    #[must_use]
    pub fn decode(body: &[u8]) -> Self {
        Self { code: body.first().copied().unwrap_or(0) }
    }

    /// The packet's bytes, without properties.
    #[must_use]
    pub const fn encode(self) -> [u8; 4] {
        // Their length could be left out (section 3.14.2.2.1), but rumqttc takes that for malformed.
        [0xe0, 2, self.code, 0]
    }

    /// The name the standard gives the code.
    #[must_use]
    pub const fn code_name(&self) -> &'static str {
        match self.code {
            0 => "normal disconnection",
            code => reason::reason_code(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_the_broker_is_named() {
        assert_eq!(Disconnect::decode(&[0x8b, 0]).code_name(), "server shutting down");
        let taken_over = Disconnect { code: 0x8e };
        assert_eq!(Disconnect::decode(&taken_over.encode()[2..]), taken_over);
        assert_eq!(Disconnect::decode(&[]).code_name(), "normal disconnection");
    }
}
