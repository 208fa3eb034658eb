//! A broker that vanishes without a word: no RST, no FIN, no answer.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Reason, Reconnect, Report, Traffic};
use lb_tests::topology::{Arms, Family};

use super::{GRACE, LIMIT, Stage};

/// A client that was disconnected is to be back on another broker within this time.
const RETURN: Duration = Duration::from_secs(2);

fn fleet(stage: &Stage, prefix: &str, keep_alive_s: u16) -> Fleet {
    let plan = Plan {
        traffic: Traffic::ClosedLoop { pause: Duration::from_millis(100) },
        reconnect: Reconnect::After(Duration::from_millis(100)),
        prefix: prefix.into(),
        keep_alive_s,
        ..stage.plan(Family::V4, 90)
    };
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    fleet.wait_exchanged(3, LIMIT).unwrap();
    fleet
}

/// Waits until so many clients have lost their connection and everybody is connected.
fn wait_back(fleet: &Fleet, victims: usize) -> Report {
    let deadline = Instant::now() + LIMIT;
    loop {
        let report = fleet.report();
        if report.disconnects.len() >= victims && report.connected() == report.clients.len() {
            return report;
        }
        let gone = report.disconnects.len();
        assert!(Instant::now() < deadline, "{gone} of {victims} gone, {}", report.connected());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn assert_back(report: &Report, victims: usize, reason: &Reason) {
    assert_eq!(report.disconnects.len(), victims, "its clients, each once, and nobody else");
    for disconnect in &report.disconnects {
        assert_eq!(disconnect.broker.as_deref(), Some("broker-1"));
        assert_eq!(&disconnect.reason, reason);
        assert!(disconnect.back_after.unwrap() < RETURN, "{disconnect:?}");
    }
}

/// Nobody tells the clients: whoever waits for an answer goes on waiting. Whoever looks after the
/// connection, as Keep Alive lets a client do, finds another broker; an operator who knows that the
/// broker does not come back removes it, and then the next segment of a client is answered by RST.
#[test]
fn the_clients_of_a_broker_that_vanishes_wait_until_they_notice_or_it_is_removed() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::Two, 3);
    // Notices two to four seconds later: the balancer has noticed before.
    let attentive = fleet(&stage, "attentive", 4);
    // Pings once within LIMIT, and would miss the answer only later. Without the ping a client whose
    // last message the broker still took, but did not send back, has no segment to send, and never
    // hears of the RST.
    let patient = fleet(&stage, "patient", 30);
    let victims = |fleet: &Fleet| fleet.report().clients_by_broker()["broker-1"];
    let (attentive_victims, patient_victims) = (victims(&attentive), victims(&patient));
    assert!(attentive_victims > 10 && patient_victims > 10);

    stage.topology.broker(0).ip("link set eth0 down\n").unwrap();
    let down = |status: &serde_json::Value| {
        status["services"][0]["backends"][0]["state"].as_str() == Some("down")
    };
    stage.balancer.wait_status(LIMIT, down).unwrap();
    let report = wait_back(&attentive, attentive_victims);
    assert_back(&report, attentive_victims, &Reason::NoPingResponse);
    assert!(!report.clients_by_broker().contains_key("broker-1"));
    let report = patient.report();
    assert_eq!(report.disconnects.len(), 0, "nobody has told them: {:?}", report.disconnects);

    stage.balancer.run_ctl("backend remove mqtt-v4/broker-1").unwrap();
    let report = wait_back(&patient, patient_victims);
    assert_back(&report, patient_victims, &Reason::Tcp(ErrorKind::ConnectionReset));
    for fleet in [attentive, patient] {
        fleet.stop(GRACE).unwrap().assert_only_disturbed("broker-1");
    }
}
