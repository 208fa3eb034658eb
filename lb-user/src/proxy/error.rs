//! Why a service cannot be served.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{sticky::file::StickyFileError, tls::TlsError};
use crate::{config::model::Name, load::source::SourceError};

/// A service that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its address cannot be listened at.
    #[error("service {service}: listen at {address}: {source}")]
    Listen {
        /// Its name.
        service: Name,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// There are no threads for connections.
    #[error("start threads for connections: {0}")]
    Workers(#[source] io::Error),
    /// It cannot connect to brokers from an address.
    #[error("service {service}: connect from {address}: {source}")]
    Source {
        /// Its name.
        service: Name,
        /// The address.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its TLS cannot be set up.
    #[error("service {service}: {source}")]
    Tls {
        /// Its name.
        service: Name,
        /// Why.
        source: TlsError,
    },
    /// Its brokers cannot be asked for their loads.
    #[error("service {service}: the load of its brokers: {source}")]
    Load {
        /// Its name.
        service: Name,
        /// Why.
        source: SourceError,
    },
    /// Its sticky sessions cannot be read.
    #[error("service {service}: {source}")]
    Sessions {
        /// Its name.
        service: Name,
        /// Why.
        source: StickyFileError,
    },
    /// Its log cannot be opened.
    #[error("service {service}: open the log of connections {}: {source}", .path.display())]
    Log {
        /// Its name.
        service: Name,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl PrepareError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program listens there: end it, or choose another VIP or port"
            }
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: see docs/privileges.md"
            }
            Self::Listen { .. } => "choose a VIP and port that this host can listen at",
            Self::Workers(_) => "this machine is short of resources",
            Self::Source { .. } => {
                "give this host the address, as by `ip address add`, or remove it from \
                 services[].mqtt.addresses"
            }
            Self::Tls { source, .. } => source.hint(),
            Self::Load { .. } => "see the settings below `mqtt.load`, and the files that they name",
            Self::Log { .. } => "its directory must exist, and mqlb be allowed to write there",
            Self::Sessions { source, .. } => return source.hint(),
        };
        hint.to_owned()
    }
}
