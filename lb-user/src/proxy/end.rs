//! Why a connection ended, or never began.

use std::{fmt, io};

use super::pacing;

/// What is not the client's fault (RFC 8446, section 6.2).
const INTERNAL_ERROR: u8 = 80;

/// An order to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// A newer connection has its Client Identifier.
    TakenOver = 1,
    /// Its backend was removed, or given up.
    BackendRemoved,
    /// Its service was removed.
    ServiceRemoved,
    /// The balancer ends.
    Shutdown,
    /// Its backend has more connections than its share.
    Rebalanced,
}

impl Order {
    /// The order with this number; `None` if there is none.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::TakenOver),
            2 => Some(Self::BackendRemoved),
            3 => Some(Self::ServiceRemoved),
            4 => Some(Self::Shutdown),
            5 => Some(Self::Rebalanced),
            _ => None,
        }
    }

    /// The reason code of the DISCONNECT that a client of MQTT 5.0 gets (section 3.14.2.1).
    #[must_use]
    pub const fn reason_code(self) -> u8 {
        match self {
            Self::TakenOver => 0x8e,
            // Administrative action: whoever connects again gets another broker.
            Self::BackendRemoved => 0x98,
            Self::ServiceRemoved | Self::Shutdown => 0x8b,
            // Use another server.
            Self::Rebalanced => 0x9c,
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client closed first, in good order.
    ClientClosed,
    /// The broker closed first, in good order.
    BrokerClosed,
    /// The way to the client broke.
    ClientFailed(io::Error),
    /// The way to the broker broke.
    BrokerFailed(io::Error),
    /// The client was silent for one and a half times its Keep Alive.
    Idle,
    /// One side closed, and the other did not follow.
    HalfClosed,
    /// It was ended on purpose.
    Ordered(Order),
}

impl End {
    /// Its name in the log of connections; it never changes.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::BrokerClosed => "broker_closed",
            Self::ClientFailed(_) => "client_failed",
            Self::BrokerFailed(_) => "broker_failed",
            Self::Idle => "idle",
            Self::HalfClosed => "half_closed",
            Self::Ordered(Order::TakenOver) => "taken_over",
            Self::Ordered(Order::BackendRemoved) => "backend_removed",
            Self::Ordered(Order::ServiceRemoved) => "service_removed",
            Self::Ordered(Order::Shutdown) => "shutdown",
            Self::Ordered(Order::Rebalanced) => "rebalanced",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientFailed(error) | Self::BrokerFailed(error) => {
                write!(f, "{}: {error}", self.name())
            }
            _ => f.write_str(self.name()),
        }
    }
}

impl From<pacing::Refusal> for Refused {
    fn from(refusal: pacing::Refusal) -> Self {
        match refusal {
            pacing::Refusal::Source => Self::PacedSource,
            pacing::Refusal::Service => Self::PacedService,
            pacing::Refusal::Backend => Self::PacedBackend,
        }
    }
}

/// Why a client was not let in; beside what is malformed about its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel did not hand it over.
    AcceptFailed,
    /// Its address is in a list.
    Denied,
    /// Too many waited for their CONNECT, and it was the oldest.
    CrowdedOut,
    /// It does not speak TLS as it must, or shows no certificate that is valid.
    TlsFailed,
    /// It asks by TLS for a name that no route is for.
    UnknownServerName,
    /// Its certificate has not the name that its CONNECT shall carry, or one that none can.
    CertificateName,
    /// Its CONNECT took too long.
    ConnectTimeout,
    /// It went away before its CONNECT was whole.
    ConnectUnfinished,
    /// The CONNECTs of all together take too much memory.
    ConnectMemory,
    /// It went away while it waited for its turn, or for a broker.
    ClientGone,
    /// No backend takes new connections.
    NoBackend,
    /// Every backend has as many connections as it may have.
    Full,
    /// No broker could be reached, or none answered.
    NoAnswer,
    /// Every broker that was asked said that it cannot serve now.
    Unavailable,
    /// Its Client Identifier is in quarantine.
    Quarantined,
    /// It came from a proxy in front, without a header of the PROXY protocol that can be read.
    ProxyHeader,
    /// Its source opens connections faster than it may.
    PacedSource,
    /// More clients wait for the service than it lets in in time.
    PacedService,
    /// More clients wait for each backend than it takes in time.
    PacedBackend,
}

impl Refused {
    /// All of them, each once.
    pub const ALL: [Self; 19] = [
        Self::AcceptFailed,
        Self::TlsFailed,
        Self::UnknownServerName,
        Self::CertificateName,
        Self::Denied,
        Self::CrowdedOut,
        Self::ConnectTimeout,
        Self::ConnectUnfinished,
        Self::ConnectMemory,
        Self::ClientGone,
        Self::NoBackend,
        Self::Full,
        Self::NoAnswer,
        Self::Unavailable,
        Self::Quarantined,
        Self::ProxyHeader,
        Self::PacedSource,
        Self::PacedService,
        Self::PacedBackend,
    ];

    /// Its name in metrics and logs; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptFailed => "accept_failed",
            Self::Denied => "denied",
            Self::CrowdedOut => "crowded_out",
            Self::TlsFailed => "tls_failed",
            Self::UnknownServerName => "unknown_server_name",
            Self::CertificateName => "certificate_name",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectUnfinished => "connect_unfinished",
            Self::ConnectMemory => "connect_memory",
            Self::ClientGone => "client_gone",
            Self::NoBackend => "no_backend",
            Self::Full => "full",
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::Quarantined => "quarantined",
            Self::ProxyHeader => "proxy_header",
            Self::PacedSource => "paced_source",
            Self::PacedService => "paced_service",
            Self::PacedBackend => "paced_backend",
        }
    }

    /// The reason code of the CONNACK that the client gets, in the words of MQTT 5.0 (section
    /// 3.2.2.2); `None` if it gets none, because it has not said what it speaks, or has gone.
    #[must_use]
    pub const fn reason_code(self) -> Option<u8> {
        match self {
            Self::AcceptFailed
            | Self::Denied
            | Self::CrowdedOut
            | Self::TlsFailed
            | Self::UnknownServerName
            | Self::ConnectTimeout
            | Self::ConnectUnfinished
            | Self::ConnectMemory
            | Self::ClientGone
            | Self::ProxyHeader => None,
            Self::NoBackend | Self::NoAnswer | Self::Unavailable | Self::PacedBackend => Some(0x88),
            // Not authorized.
            Self::CertificateName => Some(0x87),
            Self::Full | Self::PacedService => Some(0x89),
            Self::Quarantined | Self::PacedSource => Some(0x9f),
        }
    }

    /// The alert (RFC 8446, section 6) that a client gets whose TLS is passed through; `None` if it
    /// gets none, because it has not shown that it speaks TLS.
    #[must_use]
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::UnknownServerName => Some(112),
            _ if self.reason_code().is_some() => Some(INTERNAL_ERROR),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_as_numbers() {
        for order in [
            Order::TakenOver,
            Order::BackendRemoved,
            Order::ServiceRemoved,
            Order::Shutdown,
            Order::Rebalanced,
        ] {
            assert_eq!(Order::from_number(order as u8), Some(order));
        }
        assert_eq!(Order::from_number(0), None);
    }

    #[test]
    fn each_pace_has_a_code_of_its_own() {
        let code = |refusal: pacing::Refusal| Refused::from(refusal).reason_code();
        assert_eq!(code(pacing::Refusal::Source), Some(0x9f), "Connection rate exceeded");
        assert_eq!(code(pacing::Refusal::Service), Some(0x89), "Server busy");
        assert_eq!(code(pacing::Refusal::Backend), Some(0x88), "Server unavailable");
    }

    #[test]
    fn no_two_refusals_have_one_name() {
        let names: std::collections::BTreeSet<_> = Refused::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Refused::ALL.len());
    }
}
