//! Services with TLS towards clients, towards brokers, or both.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::rig::{LIMIT, Peer, Rig, accepts, connect, settings, until};
use crate::{
    config::model::{
        BrokerTls, CertificateFiles, CertificateName, ClientCertificates, HashKey, MqttSettings,
        Policy, SendProxyProtocol, ServerTls, TlsVersion,
    },
    mqtt::{Version, decode::ConnectDecoder},
    proxy::{
        proxy_protocol::{Decoded, Header, decode},
        tls::{
            self,
            tests::pki::{Authority, Subject, der, settings as server_settings},
        },
    },
};

const NAME: &str = "broker.example";

fn files(files: &tls::CertificateFiles) -> CertificateFiles {
    CertificateFiles { certificate_file: files.certificate.clone(), key_file: files.key.clone() }
}

fn issue(authority: &Authority) -> tls::CertificateFiles {
    authority.issue("server", &Subject { names: &[NAME, "127.0.0.1"], ..Subject::default() })
}

fn server(authority: &Authority) -> ServerTls {
    ServerTls {
        certificates: vec![files(&issue(authority))],
        alpn: vec!["mqtt".into()],
        min_version: TlsVersion::V12,
        client_certificates: ClientCertificates::None,
        ca_file: None,
        crl_files: Vec::new(),
        username_from: None,
        client_id_from: None,
    }
}

fn asking_for_certificates(authority: &Authority) -> ServerTls {
    ServerTls {
        client_certificates: ClientCertificates::Required,
        ca_file: Some(authority.path("ca.pem")),
        ..server(authority)
    }
}

async fn shake(rig: &Rig, config: &Arc<ClientConfig>) -> io::Result<client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(rig.spec.address).await?;
    let name = ServerName::try_from(NAME).unwrap();
    timeout(LIMIT, TlsConnector::from(Arc::clone(config)).connect(name, stream)).await.unwrap()
}

pub async fn expect<S: tokio::io::AsyncRead + Unpin>(stream: &mut S, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.expect("nothing comes").unwrap();
    assert_eq!(bytes, expected);
}

/// Reads a header of the PROXY protocol, and nothing behind it.
pub async fn header(broker: &mut Peer) -> Header {
    let mut bytes = Vec::new();
    loop {
        match decode(&bytes).unwrap() {
            Decoded::Complete { header, .. } => return header,
            Decoded::Incomplete { missing } => {
                let mut next = vec![0; missing];
                timeout(LIMIT, broker.0.read_exact(&mut next)).await.unwrap().unwrap();
                bytes.extend(next);
            }
        }
    }
}

#[tokio::test]
async fn tls_ends_here_and_its_broker_hears_plain_mqtt() {
    let authority = Authority::new();
    let tls = Some(server(&authority));
    let rig = Rig::new(1, MqttSettings { tls, ..settings() }).await;
    let mut client = shake(&rig, &authority.client().config()).await.unwrap();
    let packet = connect(Version::V5, "encrypted");
    for byte in &packet {
        client.write_all(&[*byte]).await.unwrap();
        client.flush().await.unwrap();
    }
    let mut broker = rig.broker(0).await;
    broker.expect(&packet).await;
    broker.send(accepts(Version::V5)).await;
    expect(&mut client, accepts(Version::V5)).await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut up, mut down) = (vec![0; sent.len()], vec![0; sent.len()]);
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut broker_read, mut broker_write) = broker.0.split();
    let up_and_down = async {
        tokio::try_join!(
            async {
                client_write.write_all(&sent).await?;
                client_write.flush().await
            },
            broker_write.write_all(&sent),
            broker_read.read_exact(&mut up),
            client_read.read_exact(&mut down),
        )
    };
    timeout(LIMIT, up_and_down).await.expect("stuck").unwrap();
    assert!(up == sent && down == sent);
    client_write.shutdown().await.unwrap();
    assert_eq!(timeout(LIMIT, broker.0.read(&mut [0])).await.unwrap().unwrap(), 0);
    drop((client_read, client_write, broker));
    until("ended", || rig.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_vanishes_without_taking_leave_of_tls_has_closed() {
    let authority = Authority::new();
    let tls = Some(server(&authority));
    let rig = Rig::new(1, MqttSettings { tls, ..settings() }).await;
    let mut client = shake(&rig, &authority.client().config()).await.unwrap();
    client.write_all(&connect(Version::V311, "a")).await.unwrap();
    let mut broker = rig.broker(0).await;
    broker.expect(&connect(Version::V311, "a")).await;
    broker.send(accepts(Version::V311)).await;
    expect(&mut client, accepts(Version::V311)).await;
    // The end of TCP, without close_notify.
    let (mut tcp, _) = client.into_inner();
    tcp.shutdown().await.unwrap();
    assert_eq!(broker.rest().await, b"");
}

#[tokio::test]
async fn the_names_of_a_certificate_become_those_of_the_connect_and_the_broker_hears_of_it() {
    let authority = Authority::new();
    let tls = ServerTls {
        username_from: Some(CertificateName::CommonName),
        client_id_from: Some(CertificateName::SubjectAltName),
        ..asking_for_certificates(&authority)
    };
    let settings =
        MqttSettings { tls: Some(tls), send_proxy_protocol: SendProxyProtocol::V2, ..settings() };
    let rig = Rig::new(1, settings).await;
    let names = &["device-7.example"];
    let shown =
        authority.issue("client", &Subject { names, common_name: "acme", ..Subject::default() });
    let config =
        tls::tests::pki::Client { alpn: vec![b"mqtt".to_vec()], ..authority.client().with(&shown) };
    let mut client = shake(&rig, &config.config()).await.unwrap();
    client.write_all(&connect(Version::V311, "what it says")).await.unwrap();
    let mut broker = rig.broker(0).await;
    let header = header(&mut broker).await;
    let local = client.get_ref().0.local_addr().unwrap();
    let addresses = header.addresses.unwrap();
    assert_eq!((addresses.source(), addresses.destination()), (local, rig.spec.address));
    assert_eq!(header.tlvs.alpn.as_deref(), Some(&b"mqtt"[..]));
    assert_eq!(header.tlvs.authority.as_deref(), Some(NAME));
    let ssl = header.tlvs.ssl.unwrap();
    assert_eq!(
        (ssl.version.as_deref(), ssl.common_name.as_deref()),
        (Some("TLSv1.3"), Some("acme"))
    );
    assert!(ssl.verified);
    let mut decoder = ConnectDecoder::new(1 << 16);
    let connect = loop {
        let byte = timeout(LIMIT, broker.0.read_u8()).await.unwrap().unwrap();
        if let Some(connect) = decoder.feed(&[byte]).unwrap() {
            break connect;
        }
    };
    assert_eq!((connect.client_id(), connect.username()), ("device-7.example", Some("acme")));
    let nameless =
        authority.issue("nameless", &Subject { common_name: "acme", ..Subject::default() });
    let mut other = shake(&rig, &authority.client().with(&nameless).config()).await.unwrap();
    other.write_all(&super::rig::connect(Version::V5, "b")).await.unwrap();
    expect(&mut other, &[0x20, 3, 0, 0x87, 0]).await;
    assert_eq!(rig.refusals("certificate_name"), 1);
}

#[tokio::test]
async fn a_certificate_is_a_key_of_the_hash() {
    let authority = Authority::new();
    let settings = MqttSettings {
        tls: Some(asking_for_certificates(&authority)),
        policy: Policy::Hash,
        hash_key: HashKey::CertificateCn,
        ..settings()
    };
    let rig = Rig::new(4, settings).await;
    let shown = authority.issue("client", &Subject::default());
    let config = authority.client().with(&shown).config();
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = shake(&rig, &config).await.unwrap();
        client.write_all(&connect(Version::V311, &format!("other-{number}"))).await.unwrap();
        clients.push(client);
    }
    let attempts = || rig.proxies.counters().values().map(|one| one.attempted).collect::<Vec<_>>();
    until("led on", || attempts().iter().sum::<u64>() == 6).await;
    assert!(attempts().contains(&6), "{:?}", attempts());
}

#[tokio::test]
async fn who_speaks_no_tls_or_has_no_valid_certificate_is_refused_and_counted() {
    let authority = Authority::new();
    let tls = Some(asking_for_certificates(&authority));
    let connect_within = Duration::from_millis(300);
    let rig = Rig::new(1, MqttSettings { connect_within, tls, ..settings() }).await;
    let mut plain = rig.connect(Version::V5, "plain").await;
    let alert = plain.rest().await;
    assert_eq!(alert.first(), Some(&21), "an alert of TLS: {alert:?}");
    let mut anonymous = shake(&rig, &authority.client().config()).await.unwrap();
    assert!(anonymous.read(&mut [0]).await.is_err(), "TLS 1.3 refuses after its handshake");
    until("counted", || rig.refusals("tls_failed") == 2).await;
    // A hello that never ends, a byte at a time: the time for a CONNECT is all that it gets.
    let mut slow = rig.dial().await;
    for byte in [22, 3, 1, 2, 0, 1] {
        slow.send(&[byte]).await;
    }
    slow.gone().await;
    assert_eq!(rig.refusals("connect_timeout"), 1);
    assert_eq!(rig.seen().waiting, 0);
}

#[tokio::test]
async fn replaced_certificates_are_shown_to_new_clients_and_disturb_nobody() {
    let authority = Authority::new();
    let tls = Some(server(&authority));
    let rig = Rig::new(1, MqttSettings { tls, ..settings() }).await;
    let config = || authority.client().config();
    let mut client = shake(&rig, &config()).await.unwrap();
    client.write_all(&connect(Version::V311, "a")).await.unwrap();
    let mut broker = rig.broker(0).await;
    broker.expect(&connect(Version::V311, "a")).await;
    broker.send(accepts(Version::V311)).await;
    expect(&mut client, accepts(Version::V311)).await;
    let renewed = issue(&authority);
    let reload = |reread| {
        let ready = rig.proxies.prepare(std::slice::from_ref(&rig.spec), reread)?;
        rig.proxies.begin(ready, vec![rig.snapshot()]);
        Ok::<(), crate::proxy::PrepareError>(())
    };
    let shown = async || {
        let client = shake(&rig, &config()).await.unwrap();
        client.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    reload(false).unwrap();
    assert_ne!(shown().await, der(&renewed), "not before files are read again");
    reload(true).unwrap();
    assert_eq!(shown().await, der(&renewed));
    assert_eq!(rig.seen().expiries.len(), 1);
    let renewed_der = der(&renewed);
    std::fs::write(&renewed.certificate, "broken").unwrap();
    let error = reload(true).unwrap_err();
    assert!(error.to_string().contains("service mqtt: no certificate in"), "{error}");
    assert!(error.hint().contains("BEGIN CERTIFICATE"));
    assert_eq!(shown().await, renewed_der, "what was there goes on");
    broker.send(b"still here").await;
    expect(&mut client, b"still here").await;
}

#[tokio::test]
async fn brokers_are_reached_by_tls_with_the_proxy_header_in_front_of_it() {
    let authority = Authority::new();
    let ca_file = Some(authority.path("ca.pem"));
    let broker_tls = Some(BrokerTls { ca_file, ..BrokerTls::default() });
    let send_proxy_protocol = SendProxyProtocol::V1;
    let rig = Rig::new(2, MqttSettings { send_proxy_protocol, broker_tls, ..settings() }).await;
    let trusted = tls::Server::load(&server_settings(vec![issue(&authority)])).unwrap();
    let other = Authority::new();
    let stranger = tls::Server::load(&server_settings(vec![issue(&other)])).unwrap();
    let packet = connect(Version::V311, "a");
    let mut client = rig.connect(Version::V311, "a").await;
    let mut first = rig.broker(0).await;
    header(&mut first).await;
    let refused = TlsAcceptor::from(stranger.config()).accept(first.0).await;
    assert!(refused.is_err(), "a broker that cannot prove itself is not spoken to");
    let mut second = rig.broker(1).await;
    let told = header(&mut second).await.addresses.unwrap();
    assert_eq!(told.source(), client.0.local_addr().unwrap());
    let mut second = TlsAcceptor::from(trusted.config()).accept(second.0).await.unwrap();
    expect(&mut second, &packet).await;
    second.write_all(accepts(Version::V311)).await.unwrap();
    second.flush().await.unwrap();
    client.expect(accepts(Version::V311)).await;
    client.send(b"\xc0\0").await;
    expect(&mut second, b"\xc0\0").await;
    assert_eq!(rig.proxies.counters()[&1].connack_missing, 1);
}
