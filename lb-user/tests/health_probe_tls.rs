//! Probes through TLS, with certificates made for the test.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fake::{CONNACK, http, mqtt, packet, probed, probed_briefly, server, tls};
use lb_user::config::model::{HealthCheck, HttpCheck, MqttCheck, Probe, Tls};
use lb_user::health::probe::{Phase, ProbeError};
use lb_user::health::target::ServiceCheck;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority with its certificate in a file of its own, removed with it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("mqlb-ca-{}-{number}", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server's side, certified for 127.0.0.1 and `broker.example`.
    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".into(), "broker.example".into()];
        let certificate =
            CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn broker(&self) -> SocketAddr {
        self.recording_broker(mpsc::unbounded_channel().0).await
    }

    /// Tells what came after the CONNECT and how the connection ended.
    async fn recording_broker(&self, seen: mpsc::UnboundedSender<Vec<u8>>) -> SocketAddr {
        let acceptor = self.acceptor();
        server(move |stream| {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                packet(&mut stream).await;
                stream.write_all(CONNACK).await.unwrap();
                let _ = seen.send(packet(&mut stream).await);
                // An end without close_notify would be an error.
                let end = stream.read(&mut [0; 1]).await;
                let _ = seen.send(format!("{end:?}").into_bytes());
                stream.shutdown().await.unwrap();
            }
        })
        .await
    }

    fn trusted(&self) -> Tls {
        Tls { ca_file: Some(self.file.clone()), ..tls() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn encrypted(tls: Tls) -> Probe {
    Probe::Mqtt(MqttCheck { tls: Some(tls), ..mqtt() })
}

#[tokio::test]
async fn a_broker_certified_for_its_address_is_healthy_and_sees_a_clean_end() {
    let authority = Authority::new();
    let (seen, mut events) = mpsc::unbounded_channel();
    let address = authority.recording_broker(seen).await;
    probed(encrypted(authority.trusted()), address).await.unwrap();
    assert_eq!(events.recv().await.unwrap(), [0xe0, 0], "DISCONNECT");
    assert_eq!(events.recv().await.unwrap(), b"Ok(0)");
}

#[tokio::test]
async fn a_broker_certified_for_the_configured_name_is_healthy() {
    let authority = Authority::new();
    let named = Tls { server_name: Some("broker.example".into()), ..authority.trusted() };
    probed(encrypted(named), authority.broker().await).await.unwrap();
    let other = Tls { server_name: Some("other.example".into()), ..authority.trusted() };
    let error = probed(encrypted(other), authority.broker().await).await.unwrap_err();
    assert!(matches!(error, ProbeError::Tls(_)), "{error}");
    assert!(error.to_string().contains("other.example"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_unless_insecure() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let error = probed(encrypted(stranger.trusted()), authority.broker().await).await.unwrap_err();
    assert!(matches!(error, ProbeError::Tls(_)), "{error}");
    let insecure = Tls { insecure: true, ..tls() };
    probed(encrypted(insecure), authority.broker().await).await.unwrap();
}

#[tokio::test]
async fn a_port_without_tls_is_told_from_one_that_is_silent() {
    let authority = Authority::new();
    let plain = server(|mut stream| async move {
        let _ = stream.write_all(b"no TLS here, sorry").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = probed_briefly(encrypted(authority.trusted()), plain).await;
    assert!(matches!(error, ProbeError::Tls(_)), "{error}");
    let silent = server(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = probed_briefly(encrypted(authority.trusted()), silent).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Tls, .. }), "{error}");
}

#[tokio::test]
async fn http_is_asked_through_tls_too() {
    let authority = Authority::new();
    let acceptor = authority.acceptor();
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let check = HttpCheck { tls: Some(authority.trusted()), ..http("/status") };
    probed(Probe::Http(check), address).await.unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused_before_the_first_probe() {
    let load = |tls| {
        let timing = fake::timing(std::time::Duration::from_secs(1));
        let check = HealthCheck { probe: encrypted(tls), timing, port: None };
        ServiceCheck::load(&check, "lb1", "mqtt").unwrap_err().to_string()
    };
    let missing = load(Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..tls() });
    assert!(
        missing.starts_with("cannot read the certificates in /nonexistent/ca.pem"),
        "{missing}"
    );
    let authority = Authority::new();
    std::fs::write(&authority.file, "no certificate").unwrap();
    let empty = load(authority.trusted());
    assert!(empty.starts_with("no certificate in "), "{empty}");
    let name = load(Tls { server_name: Some("not a name".into()), insecure: true, ..tls() });
    assert_eq!(name, "\"not a name\" is neither a host name nor an address");
}
