//! From the configuration to what is loaded.

use super::{
    BrokerSettings, CertificateFiles, ClientAuth, ClientAuthorities, ServerSettings, Version,
};
use crate::config::model::{self, ClientCertificates, TlsVersion};

impl From<&model::ServerTls> for ServerSettings {
    fn from(tls: &model::ServerTls) -> Self {
        let authorities = || ClientAuthorities {
            ca_file: tls.ca_file.clone().unwrap_or_default(),
            crl_files: tls.crl_files.clone(),
        };
        Self {
            certificates: tls.certificates.iter().map(CertificateFiles::from).collect(),
            alpn: tls.alpn.iter().map(|name| name.clone().into_bytes()).collect(),
            min_version: match tls.min_version {
                TlsVersion::V12 => Version::V12,
                TlsVersion::V13 => Version::V13,
            },
            client: match tls.client_certificates {
                ClientCertificates::None => ClientAuth::None,
                ClientCertificates::Optional => ClientAuth::Optional(authorities()),
                ClientCertificates::Required => ClientAuth::Required(authorities()),
            },
        }
    }
}

impl From<&model::BrokerTls> for BrokerSettings {
    fn from(tls: &model::BrokerTls) -> Self {
        Self {
            ca_file: tls.ca_file.clone(),
            server_name: tls.server_name.clone(),
            certificate: tls.certificate.as_ref().map(CertificateFiles::from),
            alpn: Vec::new(),
        }
    }
}

impl From<&model::CertificateFiles> for CertificateFiles {
    fn from(files: &model::CertificateFiles) -> Self {
        Self { certificate: files.certificate_file.clone(), key: files.key_file.clone() }
    }
}
