//! What happens to verdicts when the balancer itself runs out of file descriptors.
//!
//! In a file of its own, because the limit holds for the whole process.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::fs::File;
use std::time::Duration;

use fake::{answering, mqtt, target};
use lb_user::config::model::Probe;
use lb_user::health::checker::Checker;
use lb_user::health::state::Health;
use tokio::sync::mpsc;

/// Takes every descriptor the process may still open.
fn all_descriptors() -> Vec<File> {
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: `few` is a valid `rlimit` that outlives the call, which only reads it.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
async fn running_out_of_descriptors_takes_no_broker_down() {
    let (events, mut received) = mpsc::channel(16);
    let checker = Checker::new(events);
    let broker = answering(fake::CONNACK).await;
    // Two failures in a row, one every 400 ms, would take it down.
    checker.set(1, target(Probe::Mqtt(mqtt()), broker, Duration::from_millis(200)), None);
    assert!(received.recv().await.unwrap().up);

    let held = all_descriptors();
    let before = checker.snapshot()[0].probes;
    while checker.snapshot()[0].probes < before + 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let snapshot = checker.snapshot().remove(0);
    assert_eq!(snapshot.health, Health::Up);
    let error = snapshot.last_error.unwrap();
    assert!(error.starts_with("this host cannot probe: Too many open files"), "{error}");

    drop(held);
    while checker.snapshot()[0].last_error.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(received.try_recv().is_err(), "no event in all that time");
}
