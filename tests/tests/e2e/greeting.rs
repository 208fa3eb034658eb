//! The first data of connections, read in passing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use lb_tests::exclusive;
use lb_tests::fleet::Fleet;
use lb_tests::topology::{Arms, Family};
use serde_json::json;

use super::{GRACE, LIMIT, Stage, wait_named};

#[test]
fn a_guarded_service_lets_mqtt_through_and_nothing_else() {
    let _exclusive = exclusive();
    let stage = Stage::with_config(Arms::Two, 2, |config| {
        for service in config["services"].as_array_mut().unwrap() {
            service["guard"] = json!("mqtt");
        }
    });
    for family in Family::ALL {
        let fleet = stage.connect(family, 20);
        wait_named(&fleet);
        let vip = stage.topology.vip(family);
        for stranger in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x00\x05hello"] {
            let answer = stage.topology.clients().run(|| {
                let mut stream = TcpStream::connect(vip)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.write_all(stranger)?;
                stream.read(&mut [0; 64])
            });
            let error = answer.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        fleet.stop(GRACE).unwrap().assert_undisturbed();
    }
    let status = stage.balancer.json("status").unwrap();
    assert_eq!(status["verdicts"]["guarded"], json!(4));
}

#[test]
fn a_connection_may_be_idle_for_as_long_as_its_keep_alive_says() {
    let _exclusive = exclusive();
    let stage = Stage::new(Arms::One, 2);
    let plan = stage.plan(Family::V4, 20);
    let keep_alive = u64::from(plan.keep_alive_s);
    let fleet = Fleet::start(stage.topology.clients(), plan).unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    wait_named(&fleet);
    let flows = stage.balancer.json("flows --service mqtt-v4").unwrap();
    let flows = flows["flows"].as_array().unwrap();
    assert_eq!(flows.len(), 20);
    for flow in flows {
        let idle = flow["idle_timeout_s"].as_u64().unwrap();
        assert!(idle > keep_alive * 3 / 2 && idle < keep_alive * 2 + 60, "{flow}");
    }
    let services = stage.balancer.json("service list").unwrap();
    assert_eq!(services[0]["traffic"]["connacks"]["accepted"].as_u64(), Some(20));
}
