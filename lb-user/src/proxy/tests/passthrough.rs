//! Services that pass TLS through, to brokers that end it.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{AlertDescription, ClientConfig, Error, pki_types::ServerName},
    server,
};

use super::{
    rig::{LIMIT, Peer, Rig, accepts, connect, settings, until},
    tls::{expect, header},
};
use crate::{
    config::model::{HashKey, MqttSettings, Policy, SendProxyProtocol, TlsRoute},
    mqtt::Version,
    proxy::{
        proxy_protocol::Tlvs,
        tls::{
            Server,
            hello::MAX_HELLO_BYTES,
            tests::pki::{Authority, Subject, der, settings as server_settings},
        },
    },
};

fn route(names: &[&str], backends: &[&str]) -> TlsRoute {
    TlsRoute {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        backends: backends.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

async fn passing(brokers: usize, routes: Vec<TlsRoute>) -> Rig {
    Rig::new(brokers, MqttSettings { tls_passthrough: routes, ..settings() }).await
}

/// A broker's certificate, and the broker's side of TLS.
struct Keys {
    shown: crate::proxy::tls::CertificateFiles,
    acceptor: TlsAcceptor,
}

fn keys(authority: &Authority, file: &str, name: &str) -> Keys {
    let shown = authority.issue(file, &Subject { names: &[name], ..Subject::default() });
    let server = Server::load(&server_settings(vec![shown.clone()])).unwrap();
    Keys { shown, acceptor: TlsAcceptor::from(server.config()) }
}

async fn shake(
    rig: &Rig,
    config: Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(rig.spec.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(LIMIT, TlsConnector::from(config).connect(name, stream)).await.expect("stuck")
}

/// A client that has spoken to broker `index` by TLS, and both ends.
async fn shaken(
    rig: &Rig,
    authority: &Authority,
    keys: &Keys,
    (name, index): (&str, usize),
) -> (TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
    let serve = async {
        let broker = rig.broker(index).await;
        timeout(LIMIT, keys.acceptor.accept(broker.0)).await.expect("stuck").unwrap()
    };
    let (client, broker) = tokio::join!(shake(rig, authority.client().config(), name), serve);
    (client.unwrap(), broker)
}

#[tokio::test]
async fn a_name_leads_to_its_brokers_which_alone_have_the_keys() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("connections.log");
    let settings = MqttSettings {
        tls_passthrough: vec![route(&["a.example"], &["b1"]), route(&["*.b.example"], &["b2"])],
        send_proxy_protocol: SendProxyProtocol::V2,
        connection_log: Some(log.clone()),
        ..settings()
    };
    let rig = Rig::new(2, settings).await;
    let names = ["eu.b.example", "a.example", "eu.b.example"];
    for (name, index) in names.into_iter().zip([1, 0, 1]) {
        let keys = keys(&authority, "broker", name);
        let serve = async {
            let mut broker = rig.broker(index).await;
            let header = header(&mut broker).await;
            (header, keys.acceptor.accept(broker.0).await.unwrap())
        };
        let (client, (header, mut broker)) =
            tokio::join!(shake(&rig, authority.client().config(), name), serve);
        let mut client = client.unwrap();
        let told = header.addresses.unwrap();
        assert_eq!(told.source(), client.get_ref().0.local_addr().unwrap());
        assert_eq!(told.destination(), rig.spec.address);
        assert_eq!(header.tlvs, Tlvs { authority: Some(name.into()), ..Tlvs::default() });
        assert_eq!(client.get_ref().1.peer_certificates().unwrap()[0], der(&keys.shown));
        client.write_all(&connect(Version::V5, "hidden")).await.unwrap();
        expect(&mut broker, &connect(Version::V5, "hidden")).await;
        broker.write_all(accepts(Version::V5)).await.unwrap();
        expect(&mut client, accepts(Version::V5)).await;
        let mut seen = Vec::new();
        rig.proxies.visit(rig.spec.address, |one| {
            seen.push((one.server_name.clone(), one.version, one.client_id.to_string()));
        });
        assert_eq!(seen, [(Some(name.into()), None, String::new())]);
        client.shutdown().await.unwrap();
        assert_eq!(broker.read(&mut [0]).await.unwrap(), 0);
        drop((client, broker));
        until("ended", || rig.connections() == 0).await;
    }
    let counters = rig.proxies.counters();
    assert_eq!([&counters[&1], &counters[&2]].map(|one| one.closed), [1, 2]);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    until("logged", || lines().lines().count() == 3).await;
    let line: serde_json::Value = serde_json::from_str(lines().lines().next().unwrap()).unwrap();
    assert_eq!((&line["server_name"], &line["backend"]), (&"eu.b.example".into(), &"b2".into()));
    assert_eq!((&line["end"], line.get("client_id")), (&"client_closed".into(), None));
}

#[tokio::test]
async fn a_name_that_no_route_is_for_is_refused_by_an_alert() {
    let authority = Authority::new();
    let rig = passing(1, vec![route(&["a.example"], &[])]).await;
    // An address is no name: such a client asks for none.
    for (name, refused) in [("other.example", 1), ("127.0.0.1", 2)] {
        let error = shake(&rig, authority.client().config(), name).await.unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(*error, Error::AlertReceived(AlertDescription::UnrecognisedName));
        assert_eq!(rig.refusals("unknown_server_name"), refused);
    }
    assert_eq!(rig.proxies.counters()[&1].attempted, 0);
}

#[tokio::test]
async fn who_asks_for_no_name_goes_where_all_others_go_however_slowly_its_hello_comes() {
    let authority = Authority::new();
    let rig = passing(2, vec![route(&["a.example"], &["b1"]), route(&[], &["b2"])]).await;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let config = authority.client().config();
    let mut shaking = tokio_rustls::rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    shaking.write_tls(&mut hello).unwrap();
    let mut client = rig.dial().await;
    for byte in &hello {
        client.send(&[*byte]).await;
    }
    let mut broker = rig.broker(1).await;
    broker.expect(&hello).await;
    broker.send(b"what a broker says").await;
    client.expect(b"what a broker says").await;
}

#[tokio::test]
async fn what_is_no_hello_is_refused_in_bounded_time_and_memory() {
    let connect_within = Duration::from_millis(300);
    let tls_passthrough = vec![route(&[], &[])];
    let rig = Rig::new(1, MqttSettings { connect_within, tls_passthrough, ..settings() }).await;
    let mut plain = rig.connect(Version::V5, "plain").await;
    plain.gone().await;
    assert_eq!(rig.refusals("tls_failed"), 1);
    // Records of a byte each, of a message that is just not too long.
    let mut endless = rig.dial().await;
    let message = [&[1, 0, 0x3f, 0xff][..], &[0; 4000]].concat();
    let records: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    assert!(records.len() > MAX_HELLO_BYTES);
    endless.send(&records[..MAX_HELLO_BYTES]).await;
    endless.expect(&[21, 3, 3, 0, 2, 2, 50]).await;
    assert_eq!(rig.refusals("tls_failed"), 2);
    let mut slow = rig.dial().await;
    for byte in [22, 3, 1, 2, 0, 1] {
        slow.send(&[byte]).await;
    }
    let _silent = rig.dial().await;
    slow.gone().await;
    until("counted", || rig.refusals("connect_timeout") == 2).await;
    let gone = rig.dial().await;
    drop(gone);
    until("counted", || rig.refusals("connect_unfinished") == 1).await;
    assert_eq!((rig.seen().waiting, rig.proxies.counters()[&1].attempted), (0, 0));
}

#[tokio::test]
async fn hellos_share_the_memory_that_is_there() {
    let (connect_memory_bytes, tls_passthrough) = (1024, vec![route(&[], &[])]);
    let settings = MqttSettings { connect_memory_bytes, tls_passthrough, ..settings() };
    let rig = Rig::new(1, settings).await;
    let mut large = rig.dial().await;
    large.send(&[&[22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc][..], &[0; 4000]].concat()).await;
    large.gone().await;
    assert_eq!(rig.refusals("connect_memory"), 1);
}

#[tokio::test]
async fn a_broker_that_closes_before_it_says_a_word_is_passed_over() {
    let authority = Authority::new();
    let routes = vec![route(&["a.example"], &["b1", "b3"]), route(&[], &["b2"])];
    let rig = passing(3, routes).await;
    let keys = keys(&authority, "broker", "a.example");
    let close = async { drop(rig.broker(0).await) };
    let ((), (mut client, mut broker)) =
        tokio::join!(close, shaken(&rig, &authority, &keys, ("a.example", 2)));
    broker.write_all(b"here").await.unwrap();
    expect(&mut client, b"here").await;
    let counters = rig.proxies.counters();
    assert_eq!([1, 2, 3].map(|id| counters[&id].opened), [0, 0, 1]);
    assert_eq!(counters[&1].connack_missing, 0, "nobody asked for one");
}

/// What a client sends first that asks for `name`.
fn hello(name: &str) -> Vec<u8> {
    let config = Authority::new().client().config();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut hello = Vec::new();
    let mut shaking = tokio_rustls::rustls::ClientConnection::new(config, name).unwrap();
    shaking.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn early_data_goes_to_the_broker_that_answers_and_to_no_other() {
    let rig = passing(2, vec![route(&[], &[])]).await;
    let hello = hello("a.example");
    let mut client = rig.dial().await;
    client.send(&[&hello[..], b"early"].concat()).await;
    let mut first = rig.broker(0).await;
    first.expect(&hello).await;
    client.send(b" data").await;
    first.0.shutdown().await.unwrap();
    assert_eq!(first.rest().await, b"");
    let mut second = rig.broker(1).await;
    second.expect(&hello).await;
    second.send(b"answer").await;
    client.expect(b"answer").await;
    second.expect(b"early data").await;
}

#[tokio::test]
async fn who_goes_away_before_its_broker_answers_frees_its_place() {
    let rig = passing(1, vec![route(&[], &[])]).await;
    let hello = hello("a.example");
    let mut client = rig.dial().await;
    client.send(&hello).await;
    let mut broker = rig.broker(0).await;
    broker.expect(&hello).await;
    drop(client);
    broker.gone().await;
    until("counted", || rig.refusals("client_gone") == 1).await;
}

#[tokio::test]
async fn when_no_broker_of_a_route_answers_the_client_hears_an_alert() {
    let authority = Authority::new();
    let rig = passing(2, vec![route(&["a.example"], &["b1"]), route(&[], &["b2"])]).await;
    let close = async { drop(rig.broker(0).await) };
    let ((), shaken) = tokio::join!(close, shake(&rig, authority.client().config(), "a.example"));
    let error = shaken.unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(*error, Error::AlertReceived(AlertDescription::InternalError));
    assert_eq!(rig.refusals("no_answer"), 1);
    assert_eq!(rig.proxies.counters()[&2].attempted, 0, "it is of another route");
}

#[tokio::test]
async fn each_route_has_turns_of_its_own_and_a_hash_of_the_name_keeps_it_together() {
    let routes = || {
        let [one, two] = [["b1", "b2"], ["b3", "b4"]];
        vec![route(&["*.one.example"], &one), route(&["*.two.example"], &two)]
    };
    let attempts = |rig: &Rig| {
        let counters = rig.proxies.counters();
        [1, 2, 3, 4].map(|id| counters[&id].attempted)
    };
    let ask = async |rig: &Rig, names: [&str; 2]| {
        let mut clients = Vec::new();
        for round in 0..8 {
            let mut client = rig.dial().await;
            client.send(&hello(names[round % 2])).await;
            // It stays there: whoever goes away is led nowhere.
            clients.push(client);
            until("led on", || attempts(rig).iter().sum::<u64>() == round as u64 + 1).await;
        }
    };
    let rig = passing(4, routes()).await;
    ask(&rig, ["x.one.example", "x.two.example"]).await;
    assert_eq!(attempts(&rig), [2, 2, 2, 2]);
    let settings = MqttSettings {
        policy: Policy::Hash,
        hash_key: HashKey::ServerName,
        tls_passthrough: routes(),
        ..settings()
    };
    let rig = Rig::new(4, settings).await;
    ask(&rig, ["x.one.example", "X.Two.example"]).await;
    let attempts = attempts(&rig);
    assert_eq!((attempts[0].max(attempts[1]), attempts[2].max(attempts[3])), (4, 4));
}

#[tokio::test]
async fn a_connection_ends_with_its_backend_and_nothing_is_put_into_its_stream() {
    let authority = Authority::new();
    let rig = passing(2, vec![route(&[], &[])]).await;
    let keys = keys(&authority, "broker", "a.example");
    let (client, _broker) = shaken(&rig, &authority, &keys, ("a.example", 0)).await;
    let mut snapshot = rig.snapshot();
    snapshot.backends.remove(0);
    rig.apply(snapshot);
    let mut tcp = Peer(client.into_inner().0);
    let rest = tcp.rest().await;
    assert!(rest.is_empty() || rest.starts_with(&[23, 3, 3]), "tickets of the broker only");
    until("ended", || rig.connections() == 0).await;
}
