//! A data plane that says what it does with every packet, while it is told to.

use std::time::Instant;

use lb_tests::exclusive;
use lb_tests::fleet::{Fleet, Plan, Traffic};
use lb_tests::topology::{Arms, Family};

use super::{GRACE, LIMIT, Stage};

/// The lines about packets that the controllers of this stage have logged so far.
fn logged(stage: &Stage) -> Vec<String> {
    let output = std::fs::read_to_string(stage.topology.scratch().join("mqlb.log")).unwrap();
    output.lines().filter(|line| line.contains("packet: verdict=")).map(str::to_owned).collect()
}

/// Waits for a line with all of these words.
pub fn wait_logged(stage: &Stage, words: &[&str]) -> String {
    let deadline = Instant::now() + LIMIT;
    let said = |line: &String| words.iter().all(|word| line.contains(word));
    loop {
        let lines = logged(stage);
        if let Some(line) = lines.iter().find(|line| said(line)) {
            return line.clone();
        }
        assert!(Instant::now() < deadline, "no {words:?} in {lines:#?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn packets_are_logged_with_their_verdict_only_while_asked_for() {
    let _exclusive = exclusive();
    let mut stage = Stage::new(Arms::Two, 2);
    let traffic = Traffic::ClosedLoop { pause: std::time::Duration::from_millis(50) };
    let fleets = Family::ALL.map(|family| {
        let prefix = format!("logged-{family:?}");
        let plan = Plan { traffic, prefix, ..stage.plan(family, 5) };
        let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
        fleet.wait_connected(LIMIT).unwrap();
        fleet
    });
    let exchange = || fleets.iter().for_each(|fleet| fleet.wait_exchanged(3, LIMIT).unwrap());
    exchange();
    assert_eq!(logged(&stage), [""; 0]);

    stage.balancer.stop().unwrap();
    stage.balancer.set_options(&["--log-packets"]);
    stage.balancer.run().unwrap();
    exchange();
    for (family, fleet) in Family::ALL.into_iter().zip(&fleets) {
        let vip = stage.topology.vip(family);
        let client = fleet.report().clients[0].local.unwrap();
        let (request, reply) = (format!("{client} > {vip}"), format!("{vip} > {client}"));
        let to_backend = ["\"to_backend\"", "in=\"eth0\"", "out=\"eth1\"", &request];
        wait_logged(&stage, &to_backend);
        wait_logged(&stage, &["\"to_client\"", "in=\"eth1\"", "out=\"eth0\"", &reply]);
    }

    stage.balancer.stop().unwrap();
    let before = logged(&stage).len();
    stage.balancer.set_options(&[]);
    stage.balancer.run().unwrap();
    exchange();
    assert_eq!(logged(&stage).len(), before);
    for fleet in fleets {
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
}
