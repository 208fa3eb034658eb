//! What an operator changes while 500 clients exchange messages, and none of them notices.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use lb_tests::balancer::{self, backend};
use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Reason};
use lb_tests::topology::{Arms, Family};

use super::{GRACE, LIMIT, Stage};

#[test]
fn an_added_backend_gets_new_connections_and_takes_no_old_ones() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    let busy = stage.busy();
    let before = busy.reports().map(|report| report.clients_by_broker());
    let index = stage.start_broker();
    stage.add_backend(index);
    assert!(stage.reached_by_new_clients().contains(&"broker-4".to_owned()));
    assert_eq!(busy.reports().map(|report| report.clients_by_broker()), before);
    busy.assert_undisturbed();
}

#[test]
fn a_drained_backend_keeps_its_live_connections_and_gets_no_new_ones() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::One, 3);
    let busy = stage.busy();
    let connections = stage.brokers[0].connections().unwrap();
    assert!(connections > 0);
    stage.backend("drain", "broker-1", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3"]);
    let kept = busy.reports().map(|report| report.clients_by_broker()["broker-1"]);
    assert!(kept.iter().all(|clients| *clients > 0), "{kept:?}");
    stage.backend("undrain", "broker-1", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2", "broker-3"]);
    busy.assert_undisturbed();
}

#[test]
fn removing_a_backend_that_has_no_connections_disturbs_nobody() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    let busy = stage.busy();
    let index = stage.start_broker();
    stage.add_backend(index);
    stage.backend("remove", "broker-4", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2", "broker-3"]);
    busy.assert_undisturbed();
}

#[test]
fn removing_a_backend_resets_its_connections_and_no_others() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::One, 3);
    let busy = stage.busy();
    let victims = busy.reports().map(|report| report.clients_by_broker()["broker-1"]);
    stage.backend("remove", "broker-1", |_| String::new());
    assert_eq!(stage.reached_by_new_clients(), ["broker-2", "broker-3"]);
    let deadline = Instant::now() + LIMIT;
    while busy.reports().map(|report| report.disconnects.len()) != victims {
        assert!(Instant::now() < deadline, "{victims:?} should have been disconnected");
        std::thread::sleep(Duration::from_millis(50));
    }
    for fleet in busy.0 {
        let report = fleet.stop(GRACE).unwrap();
        report.assert_only_disturbed("broker-1");
        let reset = Reason::Tcp(ErrorKind::ConnectionReset);
        assert!(report.disconnects.iter().all(|disconnect| disconnect.reason == reset));
    }
}

#[test]
fn another_weight_moves_new_connections_only() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::One, 3);
    let busy = stage.busy();
    let before = busy.reports().map(|report| report.clients_by_broker());
    stage.backend("weight", "broker-1", |_| "1000".into());
    for family in Family::ALL {
        let fleet = stage.connect(family, 300);
        super::wait_named(&fleet);
        let shares = fleet.report().clients_by_broker();
        // Ten in twelve, where it was one in three.
        assert!(shares["broker-1"] > 200, "{shares:?}");
    }
    assert_eq!(busy.reports().map(|report| report.clients_by_broker()), before);
    busy.assert_undisturbed();
}

#[test]
fn a_reload_applies_the_difference_and_disturbs_nobody() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 3);
    let busy = stage.busy();
    let index = stage.start_broker();
    let mut config = balancer::config(&stage.topology);
    stage.balancer.write_config(&config).unwrap();
    let shown = stage.balancer.run_ctl("reload --dry-run").unwrap();
    assert!(shown.contains("broker-4"), "{shown}");
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2", "broker-3"]);
    stage.balancer.run_ctl("reload").unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();
    assert_eq!(stage.reached_by_new_clients().len(), 4);

    // One mistake, and nothing of the rest is applied either.
    for (service, family) in config["services"].as_array_mut().unwrap().iter_mut().zip(Family::ALL)
    {
        let backends = service["backends"].as_array_mut().unwrap();
        backends.retain(|one| one["name"] != "broker-4");
        backends.push(backend(&stage.topology, index, family));
        backends[0]["weight"] = 0.into();
    }
    stage.balancer.write_config(&config).unwrap();
    let refused = stage.balancer.ctl(["reload"]).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(stage.reached_by_new_clients().len(), 4);
    busy.assert_undisturbed();
}

/// The program keeps what it has looked up; a removed service must be forgotten at once.
#[test]
fn a_removed_service_takes_no_connection_and_is_back_when_it_is_added_again() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 2);
    let whole = balancer::config(&stage.topology);
    let reload = |config: &serde_json::Value| {
        stage.balancer.write_config(config).unwrap();
        stage.balancer.run_ctl("reload").unwrap();
    };
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);

    let mut without = whole.clone();
    without["services"].as_array_mut().unwrap().retain(|one| one["name"] != "mqtt-v4");
    reload(&without);
    let fleet = Fleet::start(stage.topology.clients(), stage.plan(Family::V4, 5)).unwrap();
    // The host holds the VIP, and nothing listens there.
    let refused = Reason::Tcp(ErrorKind::ConnectionRefused);
    let deadline = Instant::now() + LIMIT;
    while fleet.report().failures.len() < 5 {
        assert!(Instant::now() < deadline, "{:?}", fleet.report().failures);
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = fleet.stop(Duration::ZERO).unwrap();
    assert!(report.failures.iter().all(|failure| failure.reason == refused), "{report:?}");
    let fleet = stage.connect(Family::V6, 20);
    fleet.stop(GRACE).unwrap().assert_undisturbed();

    reload(&whole);
    stage.balancer.wait_active(LIMIT).unwrap();
    assert_eq!(stage.reached_by_new_clients(), ["broker-1", "broker-2"]);
}
