//! What TLS says of a client.

use std::net::{Ipv4Addr, Ipv6Addr};

use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::model::CertificateName;
use crate::proxy::proxy_protocol::{Ssl, Tlvs};

/// The most names of a certificate that are kept.
const MAX_NAMES: usize = 16;

/// What TLS says of a client whose handshake is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The version, as in `TLSv1.3`.
    pub version: &'static str,
    /// The server that it asked for (SNI, RFC 6066, section 3).
    pub server_name: Option<String>,
    /// What was agreed to by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Its certificate, verified.
    pub certificate: Option<ClientCertificate>,
}

/// Whom a verified certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The Common Name of the subject; the last one if there are several (it is the most specific).
    pub common_name: Option<String>,
    /// DNS names, e-mail addresses, URIs and addresses of the Subject Alternative Name, in its order;
    /// the first 16.
    pub subject_alt_names: Vec<String>,
}

impl ClientTls {
    /// `None` while the handshake goes on.
    #[must_use]
    pub fn of(connection: &ServerConnection) -> Option<Self> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let certificate = connection
            .peer_certificates()
            .and_then(<[_]>::first)
            // One that is shown is there, even if no name can be read in it: who shows it must not
            // pass for a client without.
            .map(|der| ClientCertificate::read(der).unwrap_or_default());
        Some(Self {
            version,
            server_name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate,
        })
    }

    /// The same for a broker, in a header of the PROXY protocol.
    #[must_use]
    pub fn tlvs(&self) -> Tlvs {
        let certificate = self.certificate.as_ref();
        let ssl = Ssl {
            version: Some(self.version.to_owned()),
            common_name: certificate.and_then(|one| one.common_name.clone()),
            certificate: certificate.is_some(),
            // A certificate that is not valid ends the handshake.
            verified: certificate.is_some(),
        };
        Tlvs { alpn: self.alpn.clone(), authority: self.server_name.clone(), ssl: Some(ssl) }
    }
}

impl ClientCertificate {
    /// The name that is asked for; `None` if there is none, or an empty one.
    #[must_use]
    pub fn name(&self, which: CertificateName) -> Option<&str> {
        let name = match which {
            CertificateName::CommonName => self.common_name.as_deref(),
            CertificateName::SubjectAltName => self.subject_alt_names.first().map(String::as_str),
        };
        name.filter(|name| !name.is_empty())
    }

    /// `None` if a part of it makes no sense that verifying does not look at, such as the names.
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject().iter_common_name();
        let common_name = names.filter_map(|name| name.as_str().ok()).last().map(str::to_owned);
        let alternative = certificate.subject_alternative_name().ok()?;
        let all = alternative.iter().flat_map(|found| &found.value.general_names);
        let subject_alt_names = all.filter_map(text).take(MAX_NAMES).collect();
        Some(Self { common_name, subject_alt_names })
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(*octets).ok()?).to_string()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}
