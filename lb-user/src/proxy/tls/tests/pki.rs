//! An authority with files, and handshakes over loopback.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CustomExtension, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::proxy::tls::*;

pub(in crate::proxy) const LATER: (i32, u8, u8) = (2090, 1, 1);
pub(in crate::proxy) const BEFORE: (i32, u8, u8) = (2001, 1, 1);

pub(in crate::proxy) struct Authority {
    pub(in crate::proxy) dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate says.
pub(in crate::proxy) struct Subject<'a> {
    pub(in crate::proxy) names: &'a [&'a str],
    pub(in crate::proxy) common_name: &'a str,
    pub(in crate::proxy) serial: u64,
    pub(in crate::proxy) not_after: (i32, u8, u8),
    /// A Subject Alternative Name that is none.
    pub(in crate::proxy) broken_names: bool,
}

impl Default for Subject<'_> {
    fn default() -> Self {
        Self {
            names: &[],
            common_name: "someone",
            serial: 1,
            not_after: LATER,
            broken_names: false,
        }
    }
}

impl Authority {
    pub(in crate::proxy) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    pub(in crate::proxy) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate with its key, in files that are called `name`.
    pub(in crate::proxy) fn issue(&self, name: &str, subject: &Subject<'_>) -> CertificateFiles {
        let names: Vec<String> = subject.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject.common_name);
        params.serial_number = Some(SerialNumber::from(subject.serial));
        let (year, month, day) = subject.not_after;
        params.not_after = date_time_ymd(year, month, day);
        if subject.broken_names {
            let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 1, 0xff]);
            params.custom_extensions.push(names);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// A list that revokes these serial numbers.
    pub(in crate::proxy) fn crl(
        &self,
        name: &str,
        serials: &[u64],
        next: (i32, u8, u8),
    ) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update: date_time_ymd(next.0, next.1, next.2),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.path(name);
        fs::write(&path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    pub(in crate::proxy) fn authorities(&self, crl_files: &[PathBuf]) -> ClientAuthorities {
        ClientAuthorities { ca_file: self.path("ca.pem"), crl_files: crl_files.to_vec() }
    }

    /// Clients that trust this authority.
    pub(in crate::proxy) fn client(&self) -> Client {
        Client { ca: self.path("ca.pem"), certificate: None, alpn: Vec::new(), version: None }
    }
}

pub(in crate::proxy) fn settings(certificates: Vec<CertificateFiles>) -> ServerSettings {
    ServerSettings {
        certificates,
        alpn: vec![ALPN_MQTT.to_vec()],
        min_version: Version::V12,
        client: ClientAuth::None,
    }
}

#[derive(Clone)]
pub(in crate::proxy) struct Client {
    pub(in crate::proxy) ca: PathBuf,
    pub(in crate::proxy) certificate: Option<CertificateFiles>,
    pub(in crate::proxy) alpn: Vec<Vec<u8>>,
    pub(in crate::proxy) version: Option<Version>,
}

impl Client {
    pub(in crate::proxy) fn with(&self, certificate: &CertificateFiles) -> Self {
        Self { certificate: Some(certificate.clone()), ..self.clone() }
    }

    pub(in crate::proxy) fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let versions = match self.version {
            None => &[&TLS12, &TLS13][..],
            Some(Version::V12) => &[&TLS12][..],
            Some(Version::V13) => &[&TLS13][..],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::from_pem_file(&files.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }
}

/// What both sides know after a handshake.
#[derive(Debug)]
pub(in crate::proxy) struct Shaken {
    /// What the server knows of the client.
    pub(in crate::proxy) client: ClientTls,
    /// The certificate that the server showed.
    pub(in crate::proxy) shown: CertificateDer<'static>,
}

/// Both ends of a connection over loopback.
pub(in crate::proxy) async fn loopback() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Shakes hands; a byte goes each way, because only then both know that it has succeeded.
pub(in crate::proxy) async fn shake(
    server: &Server,
    client: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Shaken> {
    let (near, far) = loopback().await;
    let acceptor = TlsAcceptor::from(server.config());
    let serve = async move {
        let mut stream = acceptor.accept(far).await?;
        let client = ClientTls::of(stream.get_ref().1);
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
        let _ = stream.shutdown().await;
        io::Result::Ok(client.unwrap())
    };
    let connector = TlsConnector::from(Arc::clone(client));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = async move {
        let mut stream = connector.connect(name, near).await?;
        stream.write_u8(7).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 7);
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        io::Result::Ok(shown)
    };
    let (client, shown) = tokio::join!(serve, connect);
    // The server's reason is the one that a log would show.
    Ok(Shaken { client: client?, shown: shown? })
}

pub(in crate::proxy) fn der(files: &CertificateFiles) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&files.certificate).unwrap()
}
