//! TLS towards brokers.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use tokio_rustls::TlsAcceptor;

use super::super::*;
use super::pki::{Authority, BEFORE, Subject, loopback, settings};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Shakes hands with a broker that is set up like this; what the broker knows of us.
async fn connect(settings: &BrokerSettings, broker: &Server) -> io::Result<ClientTls> {
    let client = Broker::load(settings).unwrap();
    let (near, far) = loopback().await;
    let acceptor = TlsAcceptor::from(broker.config());
    let (ours, theirs) = tokio::join!(client.connect(HERE, near), acceptor.accept(far));
    ours?;
    Ok(ClientTls::of(theirs?.get_ref().1).unwrap())
}

fn trusting(authority: &Authority) -> BrokerSettings {
    BrokerSettings { ca_file: Some(authority.path("ca.pem")), ..BrokerSettings::default() }
}

#[tokio::test]
async fn a_broker_must_prove_its_address_or_the_name_that_is_configured() {
    let authority = Authority::new();
    let subject = Subject { names: &["127.0.0.1", "broker.example"], ..Subject::default() };
    let files = authority.issue("broker", &subject);
    let broker = Server::load(&settings(vec![files])).unwrap();
    let settings = trusting(&authority);
    assert_eq!(connect(&settings, &broker).await.unwrap().server_name, None);
    let named = |name: &str| BrokerSettings { server_name: Some(name.into()), ..settings.clone() };
    let client = connect(&named("broker.example"), &broker).await.unwrap();
    assert_eq!(client.server_name.as_deref(), Some("broker.example"));
    let error = connect(&named("other.example"), &broker).await.unwrap_err();
    assert!(error.to_string().contains("other.example"), "{error}");
    let error = connect(&trusting(&Authority::new()), &broker).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_brokers_expired_certificate_is_refused() {
    let authority = Authority::new();
    let subject = Subject { names: &["127.0.0.1"], not_after: BEFORE, ..Subject::default() };
    let broker = Server::load(&settings(vec![authority.issue("broker", &subject)])).unwrap();
    let error = connect(&trusting(&authority), &broker).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn our_own_certificate_and_protocol_are_shown_to_the_broker() {
    let authority = Authority::new();
    let subject = Subject { names: &["127.0.0.1"], ..Subject::default() };
    let files = authority.issue("broker", &subject);
    let client = ClientAuth::Required(authority.authorities(&[]));
    let broker = Server::load(&ServerSettings { client, ..settings(vec![files]) }).unwrap();
    let own = authority.issue("own", &Subject { common_name: "balancer", ..Subject::default() });
    let shown = BrokerSettings {
        certificate: Some(own),
        alpn: vec![ALPN_MQTT.to_vec()],
        ..trusting(&authority)
    };
    let seen = connect(&shown, &broker).await.unwrap();
    assert_eq!(seen.certificate.unwrap().common_name.as_deref(), Some("balancer"));
    assert_eq!(seen.alpn.as_deref(), Some(ALPN_MQTT));
}

#[test]
fn settings_that_cannot_be_used_are_errors() {
    let authority = Authority::new();
    let load = |settings: BrokerSettings| Broker::load(&settings).unwrap_err().to_string();
    let unnamed = BrokerSettings { server_name: Some("a b".into()), ..trusting(&authority) };
    assert!(load(unnamed).contains("\"a b\""));
    let key = authority.path("ca.pem");
    let files = CertificateFiles { certificate: key.clone(), key };
    let keyless = BrokerSettings { certificate: Some(files), ..trusting(&authority) };
    assert!(load(keyless).contains("no private key"));
}
