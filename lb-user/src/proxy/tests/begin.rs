//! How a client gets to a broker, or does not.

use std::time::Duration;

use super::rig::{LIMIT, Rig, accepts, connect, settings, until};
use crate::{
    config::model::{HashKey, MqttSettings, Pacing, Policy, SendProxyProtocol},
    mqtt::Version,
};

#[tokio::test]
async fn a_malformed_connect_is_answered_as_the_standard_asks_and_counted_by_reason() {
    let rig = Rig::new(1, settings()).await;
    // Bit 0 of the Connect Flags is reserved: MQTT 5.0 has words for it, MQTT 3.1.1 closes.
    for (version, answer) in [(Version::V311, &[][..]), (Version::V5, &[0x20, 3, 0, 0x81, 0])] {
        let mut packet = connect(version, "a");
        packet[9] |= 1;
        let mut client = rig.dial().await;
        client.send(&packet).await;
        assert_eq!(client.rest().await, answer);
    }
    let mut client = rig.dial().await;
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.rest().await, b"");
    let seen = rig.seen();
    let counted = [("not_connect", 1), ("reserved_connect_flag", 2)].into();
    assert_eq!((seen.refusals, seen.waiting), (counted, 0));
}

#[tokio::test]
async fn a_connect_may_come_byte_by_byte_and_what_is_behind_it_follows_it() {
    let rig = Rig::new(1, settings()).await;
    let mut client = rig.dial().await;
    let packet = connect(Version::V311, "slow");
    for byte in &packet[..packet.len() - 1] {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    // A client need not wait for CONNACK.
    client.send(&[packet[packet.len() - 1], 0xc0, 0]).await;
    let mut broker = rig.broker(0).await;
    broker.expect(&packet).await;
    broker.send(&[0x20, 2, 0, 0, 0xd0]).await;
    client.expect(&[0x20, 2, 0, 0, 0xd0]).await;
    broker.expect(&[0xc0, 0]).await;
}

#[tokio::test]
async fn a_broker_that_cannot_serve_is_passed_over_before_the_client_hears_of_it() {
    for (version, busy) in
        [(Version::V311, &[0x20, 2, 0, 3][..]), (Version::V5, &[0x20, 3, 0, 0x9c, 0])]
    {
        let rig = Rig::new(2, settings()).await;
        let mut client = rig.connect(version, "a").await;
        let mut first = rig.broker(0).await;
        first.expect(&connect(version, "a")).await;
        first.send(busy).await;
        let mut second = rig.broker(1).await;
        second.expect(&connect(version, "a")).await;
        second.send(accepts(version)).await;
        client.expect(accepts(version)).await;
        assert_eq!(first.rest().await, b"");
        let counters = rig.proxies.counters();
        assert_eq!((counters[&1].connack_unavailable, counters[&1].opened), (1, 0));
        assert_eq!((counters[&2].connack_accepted, counters[&2].opened), (1, 1));
    }
}

#[tokio::test]
async fn when_no_broker_can_serve_the_client_hears_what_the_last_one_said() {
    let rig = Rig::new(2, settings()).await;
    let mut client = rig.connect(Version::V5, "a").await;
    for (index, code) in [(0, 0x88), (1, 0x97)] {
        rig.broker(index).await.send(&[0x20, 3, 0, code, 0]).await;
    }
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x97, 0]);
    assert_eq!(rig.refusals("unavailable"), 1);
}

#[tokio::test]
async fn a_wrong_password_is_the_clients_to_hear_and_no_other_broker_is_asked() {
    let rig = Rig::new(2, settings()).await;
    let mut client = rig.connect(Version::V311, "a").await;
    let mut broker = rig.broker(0).await;
    broker.send(&[0x20, 2, 0, 4]).await;
    client.expect(&[0x20, 2, 0, 4]).await;
    drop(broker);
    assert_eq!(client.rest().await, b"");
    let counters = rig.proxies.counters();
    assert_eq!((counters[&1].connack_refused, counters[&2].attempted), (1, 0));
    assert_eq!(counters[&1].opened, 0);
}

#[tokio::test]
async fn a_broker_that_is_gone_or_says_nothing_or_nonsense_is_passed_over() {
    let quick = MqttSettings { connack_within: Duration::from_millis(200), ..settings() };
    let mut rig = Rig::new(4, quick).await;
    rig.spec.settings.attempts = 4;
    rig.apply(rig.snapshot());
    let gone = rig.brokers.remove(0);
    drop(gone);
    let mut client = rig.connect(Version::V311, "a").await;
    let silent = rig.broker(0).await;
    rig.broker(1).await.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    rig.broker(2).await.send(&[0x20, 2, 0, 0]).await;
    client.expect(&[0x20, 2, 0, 0]).await;
    drop(silent);
    let counters = rig.proxies.counters();
    let missing = [1, 2, 3, 4].map(|id| counters[&id].connack_missing);
    assert_eq!(missing, [0, 1, 1, 0]);
}

#[tokio::test]
async fn brokers_see_connections_from_the_addresses_that_are_configured() {
    let addresses = vec!["127.0.0.9".parse().unwrap()];
    let mut rig = Rig::new(1, MqttSettings { addresses, ..settings() }).await;
    let (_client, broker) = rig.accepted(0, Version::V5, "a").await;
    assert_eq!(broker.0.peer_addr().unwrap().ip().to_string(), "127.0.0.9");
    // A reload with an address that this host has not changes nothing, and says why.
    rig.spec.settings.addresses.push("192.0.2.77".parse().unwrap());
    let error = rig.proxies.prepare(std::slice::from_ref(&rig.spec), false).unwrap_err();
    let said = format!("{error}; {}", error.hint());
    assert!(said.starts_with("service mqtt: connect from 192.0.2.77: Cannot assign"), "{said}");
    assert!(said.contains("services[].mqtt.addresses"), "{said}");
}

#[tokio::test]
async fn the_log_says_why_no_broker_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let connection_log = Some(path.clone());
    let mut rig = Rig::new(1, MqttSettings { connection_log, ..settings() }).await;
    rig.brokers.clear();
    let mut client = rig.connect(Version::V311, "a").await;
    assert_eq!(client.rest().await, [0x20, 2, 0, 3]);
    let text = || std::fs::read_to_string(&path).unwrap();
    until("logged", || text().contains('\n')).await;
    assert!(
        text().contains(r#""end":"no_answer","error":"b1: connect: Connection refused"#),
        "{}",
        text()
    );
}

#[tokio::test]
async fn a_client_is_told_when_there_is_no_broker() {
    let rig = Rig::new(1, settings()).await;
    let mut drained = rig.snapshot();
    drained.backends[0].accepts = false;
    rig.apply(drained);
    let mut client = rig.connect(Version::V311, "a").await;
    assert_eq!(client.rest().await, [0x20, 2, 0, 3]);
    let mut client = rig.connect(Version::V5, "a").await;
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x88, 0]);
    assert_eq!(rig.refusals("no_backend"), 2);
}

#[tokio::test]
async fn a_backend_has_no_more_connections_than_it_may_have() {
    let rig = Rig::new(1, settings()).await;
    let mut limited = rig.snapshot();
    limited.backends[0].max_connections = Some(1);
    rig.apply(limited);
    let (client, broker) = rig.accepted(0, Version::V5, "a").await;
    let mut refused = rig.connect(Version::V5, "b").await;
    assert_eq!(refused.rest().await, [0x20, 3, 0, 0x89, 0]);
    assert_eq!((rig.refusals("full"), rig.proxies.counters()[&1].full), (1, 1));
    drop((client, broker));
    until("free again", || rig.connections() == 0).await;
    rig.accepted(0, Version::V5, "c").await;
}

#[tokio::test]
async fn a_username_leads_all_of_its_connections_to_one_broker() {
    let (policy, hash_key) = (Policy::Hash, HashKey::Username);
    let rig = Rig::new(3, MqttSettings { policy, hash_key, ..settings() }).await;
    let mut peers = Vec::new();
    for i in 0..6 {
        let client = rig.connect(Version::V311, &format!("client-{i}")).await;
        let mut broker = tokio::select! {
            broker = rig.broker(0) => broker,
            broker = rig.broker(1) => broker,
            broker = rig.broker(2) => broker,
        };
        broker.send(&[0x20, 2, 0, 0]).await;
        peers.push((client, broker));
    }
    let counters = rig.proxies.counters();
    let attempts = [1, 2, 3].map(|id| counters[&id].attempted);
    assert_eq!(attempts.iter().max(), Some(&6), "{attempts:?}");
}

#[tokio::test]
async fn denied_sources_are_closed_at_once() {
    let mut rig = Rig::new(1, settings()).await;
    rig.spec.sources.own = vec![("127.0.0.0/8".parse().unwrap(), true)];
    rig.apply(rig.snapshot());
    let mut client = rig.dial().await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(rig.refusals("denied"), 1);
}

#[tokio::test]
async fn a_proxy_in_front_says_who_the_client_is_and_the_broker_hears_it() {
    let trusted = vec!["127.0.0.1/32".parse().unwrap()];
    for (send, told) in [
        (SendProxyProtocol::V1, &b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 1883\r\n"[..]),
        (
            SendProxyProtocol::V2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x0f\xa0\x07\x5b",
        ),
    ] {
        let settings = MqttSettings {
            proxy_protocol_from: trusted.clone(),
            send_proxy_protocol: send,
            ..settings()
        };
        let rig = Rig::new(1, settings).await;
        let mut client = rig.dial().await;
        client.send(b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 1883\r\n").await;
        client.send(&connect(Version::V311, "a")).await;
        let mut broker = rig.broker(0).await;
        // The client's address is the told one, the service's is where the proxy connected to.
        let mut told = told.to_vec();
        let vip = rig.spec.address;
        if send == SendProxyProtocol::V1 {
            told = format!("PROXY TCP4 203.0.113.9 {} 4000 1883\r\n", vip.ip()).into_bytes();
        } else {
            let std::net::IpAddr::V4(ip) = vip.ip() else { unreachable!() };
            told[20..24].copy_from_slice(&ip.octets());
        }
        broker.expect(&told).await;
        broker.expect(&connect(Version::V311, "a")).await;
        broker.send(&[0x20, 2, 0, 0]).await;
        client.expect(&[0x20, 2, 0, 0]).await;
        let mut clients = Vec::new();
        rig.proxies.visit(rig.spec.address, |one| clients.push(one.client));
        assert_eq!(clients, ["203.0.113.9:4000".parse().unwrap()]);

        let mut headless = rig.connect(Version::V311, "b").await;
        headless.gone().await;
        assert_eq!(rig.refusals("proxy_header"), 1);
    }
}

#[tokio::test]
async fn a_client_whose_ipv4_address_is_told_in_ipv6_is_denied_as_in_ipv4() {
    let proxy_protocol_from = vec!["127.0.0.1/32".parse().unwrap()];
    let mut rig = Rig::new(1, MqttSettings { proxy_protocol_from, ..settings() }).await;
    rig.spec.sources.own = vec![("203.0.113.0/24".parse().unwrap(), true)];
    rig.apply(rig.snapshot());
    let mut client = rig.dial().await;
    client.send(b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.1 4000 1883\r\n").await;
    client.gone().await;
    assert_eq!(rig.refusals("denied"), 1);
}

#[tokio::test]
async fn clients_are_let_in_at_the_pace_of_the_service_and_no_later_than_they_may_wait() {
    let pacing = Pacing {
        service: Some(10),
        source: None,
        backend: None,
        max_wait: Duration::from_millis(450),
    };
    let rig = Rig::new(1, MqttSettings { pacing, ..settings() }).await;
    let mut clients = Vec::new();
    for i in 0..10 {
        clients.push(rig.connect(Version::V5, &format!("{i}")).await);
        until("counted", || rig.seen().waiting == 0).await;
    }
    // One at once, four within the time; those beyond hear at once that it is busy.
    until("refused", || rig.refusals("paced_service") == 5).await;
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        rig.broker(0).await;
    }
    let took = began.elapsed();
    assert!(took > Duration::from_millis(150) && took < LIMIT, "{took:?}");
    for client in &mut clients[5..] {
        assert_eq!(client.rest().await, [0x20, 3, 0, 0x89, 0]);
    }
}

#[tokio::test]
async fn who_is_led_on_to_another_broker_waits_for_a_turn_again() {
    let pacing = Pacing {
        service: Some(4),
        source: None,
        backend: None,
        max_wait: Duration::from_millis(600),
    };
    let rig = Rig::new(3, MqttSettings { pacing, ..settings() }).await;
    let mut client = rig.connect(Version::V5, "a").await;
    let began = tokio::time::Instant::now();
    for index in [0, 1, 2] {
        rig.broker(index).await.send(&[0x20, 3, 0, 0x88 + index as u8, 0]).await;
    }
    // At 0, 250 and 500 ms.
    assert!(began.elapsed() > Duration::from_millis(450), "{:?}", began.elapsed());
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x8a, 0]);
    let max_wait = Duration::from_millis(100);
    let pacing = Pacing { service: Some(1), max_wait, ..pacing };
    let rig = Rig::new(2, MqttSettings { pacing, ..settings() }).await;
    let mut client = rig.connect(Version::V5, "a").await;
    rig.broker(0).await.send(&[0x20, 3, 0, 0x97, 0]).await;
    // The next turn would come too late: it hears what the one said that was asked.
    assert_eq!(client.rest().await, [0x20, 3, 0, 0x97, 0]);
    assert_eq!((rig.refusals("unavailable"), rig.proxies.counters()[&2].attempted), (1, 0));
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_costs_no_turn() {
    let pacing = Pacing {
        service: Some(1),
        source: None,
        backend: None,
        max_wait: Duration::from_millis(100),
    };
    let mut rig = Rig::new(2, MqttSettings { pacing, ..settings() }).await;
    drop(rig.brokers.remove(0));
    let mut client = rig.connect(Version::V311, "a").await;
    rig.broker(0).await.send(&[0x20, 2, 0, 0]).await;
    client.expect(&[0x20, 2, 0, 0]).await;
}

#[tokio::test]
async fn a_client_that_waited_is_not_led_to_a_backend_that_takes_nobody_any_more() {
    let pacing =
        Pacing { service: None, source: None, backend: Some(4), max_wait: Duration::from_secs(5) };
    let rig = Rig::new(1, MqttSettings { pacing, ..settings() }).await;
    let _first = rig.accepted(0, Version::V5, "a").await;
    let mut second = rig.connect(Version::V5, "b").await;
    until("waiting", || rig.proxies.counters()[&1].attempted == 2).await;
    let mut drained = rig.snapshot();
    drained.backends[0].accepts = false;
    rig.apply(drained);
    assert_eq!(second.rest().await, [0x20, 3, 0, 0x88, 0]);
    assert_eq!(rig.refusals("no_backend"), 1);
}
