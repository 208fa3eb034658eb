//! What can go wrong with a probe, in words an operator can act on.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use thiserror::Error;
use tokio_rustls::rustls;

use crate::mqtt::{Connack, ConnackError, Disconnect, HeaderError, SubackError, Version};

/// A step of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Connect,
    Tls,
    Connack,
    Pingresp,
    Suback,
    Publish,
    HttpResponse,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::Connack => "waiting for CONNACK",
            Self::Pingresp => "waiting for PINGRESP",
            Self::Suback => "waiting for SUBACK",
            Self::Publish => "waiting for a message of the topic",
            Self::HttpResponse => "waiting for the HTTP response",
        })
    }
}

/// Why a probe failed.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("connection refused")]
    Refused,
    #[error("timed out {phase}, after {timeout:?}")]
    Timeout { phase: Phase, timeout: Duration },
    #[error("closed by the broker {phase}")]
    Closed { phase: Phase },
    #[error("reset by the broker {phase}")]
    Reset { phase: Phase },
    /// Trouble of this host, not of the broker: it says nothing about the broker's health.
    #[error("this host cannot probe: {0}")]
    Local(io::Error),
    #[error("failed {phase}: {error}")]
    Io { phase: Phase, error: io::Error },
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    #[error("CONNACK code {:#04x}, {}{}", .0.code, .0.code_name(), quoted(.0.properties.reason_string.as_deref()))]
    Connack(Connack),
    #[error("DISCONNECT code {:#04x}, {}", .0.code, .0.code_name())]
    Disconnect(Disconnect),
    #[error("no {version}: {error} ({phase})")]
    Header { version: Version, phase: Phase, error: HeaderError },
    #[error("malformed CONNACK of {version}: {error}")]
    MalformedConnack { version: Version, error: ConnackError },
    #[error("{0}")]
    Suback(SubackError),
    #[error("malformed PUBLISH of {0}")]
    MalformedPublish(Version),
    #[error("an unexpected packet of type {packet_type} {phase}")]
    Unexpected { packet_type: u8, phase: Phase },
    #[error("a packet of {bytes} bytes {phase}")]
    TooLong { bytes: u32, phase: Phase },
    #[error("the answer by HTTP is longer than {limit} bytes")]
    BodyTooLong { limit: usize },
    #[error("HTTP status {0}")]
    HttpStatus(u16),
    #[error("no HTTP: {0}")]
    Http(hyper::Error),
}

impl ProbeError {
    /// Sorts what the kernel or the TLS library said.
    pub(super) fn io(phase: Phase, error: io::Error) -> Self {
        if is_local(&error) {
            return Self::Local(error);
        }
        // rustls hands its errors through `io::Error`, in any phase: a broker that wants a client
        // certificate says so only after the handshake of TLS 1.3.
        let error = match error.downcast::<rustls::Error>() {
            Ok(error) => return Self::Tls(error),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::UnexpectedEof => Self::Closed { phase },
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Reset { phase }
            }
            _ => Self::Io { phase, error },
        }
    }

    /// Whether the probe says anything about the broker.
    #[must_use]
    pub const fn is_conclusive(&self) -> bool {
        !matches!(self, Self::Local(_))
    }
}

/// Whether this host lacked what a probe needs: file descriptors, memory, a free port.
fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL)
    )
}

fn quoted(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text:?})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ConnackProperties;

    #[test]
    fn running_out_of_descriptors_is_no_verdict_on_a_broker() {
        for code in [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL] {
            let error = ProbeError::io(Phase::Connect, io::Error::from_raw_os_error(code));
            assert!(!error.is_conclusive(), "{error}");
        }
        for code in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ETIMEDOUT] {
            let error = ProbeError::io(Phase::Connect, io::Error::from_raw_os_error(code));
            assert!(error.is_conclusive(), "{error}");
        }
    }

    #[test]
    fn messages_say_what_happened_and_when() {
        let connack = Connack {
            version: Version::V5,
            session_present: false,
            code: 0x97,
            properties: ConnackProperties {
                reason_string: Some("too many clients".into()),
                ..ConnackProperties::default()
            },
        };
        let table = [
            (
                ProbeError::Connack(connack),
                "CONNACK code 0x97, quota exceeded (\"too many clients\")",
            ),
            (
                ProbeError::Timeout { phase: Phase::Connack, timeout: Duration::from_secs(1) },
                "timed out waiting for CONNACK, after 1s",
            ),
            (ProbeError::Closed { phase: Phase::Tls }, "closed by the broker in the TLS handshake"),
            (
                ProbeError::Header {
                    version: Version::V311,
                    phase: Phase::Connack,
                    error: HeaderError::ReservedType,
                },
                "no MQTT 3.1.1: packet type 0 is reserved (waiting for CONNACK)",
            ),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }
}
