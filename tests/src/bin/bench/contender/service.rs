//! What clients find at the VIP.

use crate::certificate::Certificate;

/// The port at which brokers of [`Service::Mqtt`] end TLS themselves.
pub const BROKER_TLS_PORT: u16 = 8883;

/// See the module.
#[derive(Debug, Clone)]
pub enum Service {
    /// Connections are balanced, whatever is said on them.
    Tcp,
    /// A CONNECT is validated, and a Client Identifier returns to its broker. With a certificate, TLS
    /// ends there.
    Mqtt(Option<Certificate>),
}

impl Service {
    /// What it ends TLS with.
    pub const fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Tcp => None,
            Self::Mqtt(certificate) => certificate.as_ref(),
        }
    }
}
