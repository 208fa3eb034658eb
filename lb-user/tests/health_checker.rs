//! The checker with servers that live and die.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fake::{CONNACK, answering, mqtt, server, timing};
use lb_user::config::model::{HealthCheck, Probe, Timing};
use lb_user::health::checker::{Checker, HealthEvent};
use lb_user::health::state::{Health, Run};
use lb_user::health::target::{ServiceCheck, Target};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_millis(150);
const INTERVAL: Duration = Duration::from_millis(300);

fn checker() -> (Checker, mpsc::Receiver<HealthEvent>) {
    let (events, received) = mpsc::channel(64);
    (Checker::new(events), received)
}

/// Checked every 300 ms, `rise` 1, `fall` 2.
fn target(probe: Probe, address: SocketAddr) -> Target {
    fake::target(probe, address, TIMEOUT)
}

async fn next(events: &mut mpsc::Receiver<HealthEvent>) -> HealthEvent {
    timeout(Duration::from_secs(5), events.recv()).await.expect("an event within 5 s").unwrap()
}

async fn nothing(events: &mut mpsc::Receiver<HealthEvent>, during: Duration) {
    if let Ok(event) = timeout(during, events.recv()).await {
        panic!("unexpected {event:?}");
    }
}

/// A server that accepts and can be killed.
async fn mortal() -> (SocketAddr, tokio::task::AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    (address, task.abort_handle())
}

#[tokio::test]
async fn the_first_probe_decides_at_once() {
    let (checker, mut events) = checker();
    let (alive, _) = mortal().await;
    let started = Instant::now();
    checker.set(1, target(Probe::Tcp, alive), None);
    let up = next(&mut events).await;
    assert_eq!(up, HealthEvent { backend: 1, up: true, reason: "tcp check succeeded".into() });
    checker.set(2, target(Probe::Tcp, fake::nowhere().await), None);
    let down = next(&mut events).await;
    assert_eq!(down, HealthEvent { backend: 2, up: false, reason: "connection refused".into() });
    assert!(started.elapsed() < INTERVAL, "{:?}", started.elapsed());
    assert_eq!((checker.health(1), checker.health(2)), (Some(Health::Up), Some(Health::Down)));
}

#[tokio::test]
async fn a_dead_broker_is_found_out_within_the_detection_time_and_comes_back() {
    let (checker, mut events) = checker();
    let (address, server) = mortal().await;
    checker.set(1, target(Probe::Tcp, address), None);
    assert!(next(&mut events).await.up);
    server.abort();
    let died = Instant::now();
    assert!(!next(&mut events).await.up);
    let slack = Duration::from_millis(200);
    assert!(died.elapsed() <= INTERVAL * 2 + TIMEOUT + slack, "{:?}", died.elapsed());
    let _back = TcpListener::bind(address).await.unwrap();
    assert!(next(&mut events).await.up);
}

#[tokio::test]
async fn a_broker_taken_over_as_up_survives_one_lost_probe() {
    let (checker, mut events) = checker();
    let address = fake::nowhere().await;
    checker.set(1, target(Probe::Tcp, address), Some(true));
    while checker.snapshot()[0].failed_probes == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let _back = TcpListener::bind(address).await.unwrap();
    nothing(&mut events, INTERVAL * 3).await;
    assert_eq!(checker.health(1), Some(Health::Up));
}

#[tokio::test]
async fn a_changed_check_keeps_the_verdict_until_it_has_its_own() {
    let (checker, mut events) = checker();
    let (address, _) = mortal().await;
    checker.set(1, target(Probe::Tcp, address), None);
    assert!(next(&mut events).await.up);
    // The server accepts connections, but speaks no MQTT.
    checker.set(1, target(Probe::Mqtt(mqtt()), address), None);
    assert_eq!(checker.health(1), Some(Health::Up));
    let down = next(&mut events).await;
    assert!(!down.up && down.reason.contains("CONNACK"), "{down:?}");
    assert_eq!(checker.snapshot()[0].kind, "mqtt");
    checker.set(1, target(Probe::Tcp, address), None);
    assert!(next(&mut events).await.up);
    nothing(&mut events, INTERVAL * 3).await;
}

#[tokio::test]
async fn a_removed_broker_is_neither_probed_nor_reported() {
    let (checker, mut events) = checker();
    let (seen, mut probes) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            let _ = seen.send(());
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    checker.set(1, target(Probe::Mqtt(mqtt()), address), Some(true));
    probes.recv().await.unwrap();
    // Its first probe is under way, and will fail.
    checker.remove(1);
    nothing(&mut events, INTERVAL * 5).await;
    assert!(probes.try_recv().is_err(), "probed after its removal");
    assert!(checker.snapshot().is_empty());
    assert_eq!(checker.health(1), None);
}

#[tokio::test]
async fn dropping_the_checker_ends_every_check() {
    let (checker, mut events) = checker();
    let (address, _) = mortal().await;
    for backend in 0..10 {
        checker.set(backend, target(Probe::Tcp, address), None);
    }
    drop(checker);
    // Each task holds a sender of this channel; it closes once all have ended.
    timeout(Duration::from_secs(5), async { while events.recv().await.is_some() {} })
        .await
        .expect("the tasks end");
}

#[tokio::test]
async fn a_verdict_waits_for_room_and_is_not_lost_when_the_check_is_replaced() {
    let (events, mut received) = mpsc::channel(1);
    let checker = Checker::new(events);
    let (address, _) = mortal().await;
    checker.set(1, target(Probe::Tcp, address), None);
    while checker.health(1) != Some(Health::Up) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The channel is full now: the second broker's result has to wait, and its verdict with it.
    checker.set(2, target(Probe::Tcp, address), None);
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(checker.health(2), Some(Health::Unknown));
    checker.set(2, target(Probe::Tcp, address), None);
    assert_eq!(next(&mut received).await.backend, 1);
    assert_eq!(next(&mut received).await.backend, 2);
    nothing(&mut received, INTERVAL * 3).await;
}

#[tokio::test]
async fn a_snapshot_tells_what_an_operator_asks() {
    let (checker, mut events) = checker();
    checker.set(7, target(Probe::Mqtt(mqtt()), answering(&[0x20, 2, 0, 3]).await), None);
    checker.set(3, target(Probe::Mqtt(mqtt()), answering(CONNACK).await), None);
    for _ in 0..2 {
        next(&mut events).await;
    }
    let [good, bad] = checker.snapshot().try_into().unwrap();
    assert_eq!((good.backend, good.health, good.last_error), (3, Health::Up, None));
    assert_eq!(good.in_a_row, Run::Successes(good.probes as u32));
    assert!(good.last_latency.unwrap() < TIMEOUT);
    assert_eq!((bad.backend, bad.health, bad.kind), (7, Health::Down, "mqtt"));
    assert_eq!(bad.last_error.unwrap(), "CONNACK code 0x03, server unavailable");
    assert_eq!((bad.failed_probes, bad.last_latency), (bad.probes, None));
    assert!(bad.since <= INTERVAL && bad.last_probe.unwrap() <= bad.since);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_brokers_are_known_quickly_although_some_are_silent() {
    let (checker, mut events) = checker();
    let alive = answering(CONNACK).await;
    let silent = answering(b"").await;
    let check = HealthCheck {
        probe: Probe::Mqtt(mqtt()),
        timing: Timing { interval: Duration::from_secs(30), ..timing(Duration::from_secs(10)) },
        port: None,
    };
    let check = ServiceCheck::load(&check, "lb1", "mqtt").unwrap();
    let started = Instant::now();
    for backend in 0..1000 {
        let address = if backend % 10 == 0 { silent } else { alive };
        checker.set(backend, check.target(&format!("b{backend}"), address).unwrap(), None);
    }
    for _ in 0..900 {
        assert!(next(&mut events).await.up);
    }
    let known = started.elapsed();
    eprintln!("900 of 1000 brokers known after {known:?}");
    // A debug build on a busy machine; far below the timeout of the silent ones all the same.
    assert!(known < Duration::from_secs(3), "{known:?}");
}
