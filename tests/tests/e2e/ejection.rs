//! A broker that passes its checks and refuses every client.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use lb_tests::exclusive;
use lb_tests::topology::{Arms, Family};
use serde_json::{Value, json};

use super::{
    LIMIT, Stage,
    metrics::{ADDRESS, scrape},
};

const ACCEPTED: u8 = 0;
/// Server unavailable (MQTT 3.1.1, section 3.2.2.3).
const UNAVAILABLE: u8 = 3;

/// CONNECT of MQTT 3.1.1 with the Client Identifier `c` and a Keep Alive of a minute.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'c'];

/// Answers every CONNECT with the code it is told, until the test ends.
struct FakeBroker {
    code: Arc<AtomicU8>,
}

impl FakeBroker {
    fn start(stage: &mut Stage) -> (Self, SocketAddr) {
        let index = stage.topology.add_broker().unwrap();
        let address = stage.topology.broker_address(index, Family::V4);
        let listener =
            stage.topology.broker(index).run(|| TcpListener::bind(address)).unwrap().unwrap();
        let code = Arc::new(AtomicU8::new(UNAVAILABLE));
        let told = Arc::clone(&code);
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                // A health check says nothing and goes.
                let mut connect = CONNECT;
                if client.read_exact(&mut connect).is_ok() {
                    let answer = [0x20, 2, 0, told.load(Ordering::Relaxed)];
                    let _ = client.write_all(&answer);
                }
            }
        });
        (Self { code }, address)
    }
}

/// The code of the CONNACK that a new client gets.
fn connect(stage: &Stage) -> u8 {
    let vip = stage.topology.vip(Family::V4);
    let answer = stage.topology.clients().run(|| {
        let mut client = TcpStream::connect_timeout(&vip, LIMIT)?;
        client.set_read_timeout(Some(LIMIT))?;
        client.write_all(&CONNECT)?;
        let mut connack = [0; 4];
        client.read_exact(&mut connack).map(|()| connack[3])
    });
    answer.unwrap().unwrap()
}

fn fake(stage: &Stage) -> Value {
    let backends = stage.balancer.json("backend list mqtt-v4").unwrap();
    let backends = backends.as_array().unwrap();
    backends.iter().find(|backend| backend["name"] == "fake").unwrap().clone()
}

#[test]
fn a_broker_that_refuses_every_client_gets_none_until_it_serves_again() {
    let _exclusive = exclusive();
    let mut stage = Stage::with_config(Arms::Two, 1, |config| {
        config["api"]["metrics"] = json!(ADDRESS);
        config["services"][0]["ejection"] = json!({
            "min_connects": 5, "interval": "1s", "eject_for": "2s", "max_eject_for": "2s",
        });
    });
    let (broker, address) = FakeBroker::start(&mut stage);
    stage.balancer.run_ctl(&format!("backend add mqtt-v4/fake {address}")).unwrap();
    stage.balancer.wait_active(LIMIT).unwrap();

    let deadline = Instant::now() + LIMIT;
    let mut codes = Vec::new();
    while fake(&stage)["state"] != "ejected" {
        assert!(Instant::now() < deadline, "{:#}", fake(&stage));
        codes.extend((0..20).map(|_| connect(&stage)));
    }
    assert!(codes.contains(&ACCEPTED) && codes.contains(&UNAVAILABLE), "{codes:?}");
    let listed = stage.balancer.run_ctl("backend list mqtt-v4").unwrap();
    assert!(listed.contains("ejected") && listed.contains("clients; back in"), "{listed}");
    assert!(fake(&stage)["ejections"].as_u64() >= Some(1));
    let counted = r#"mqlb_backend_ejections_total{service="mqtt-v4",backend="fake"}"#;
    assert!(scrape(&stage)[counted] >= 1.0);

    // While it is out everybody is served. It may come back in between, so a whole round is tried
    // again until it was out from the beginning to the end.
    loop {
        assert!(Instant::now() < deadline + LIMIT, "{:#}", fake(&stage));
        let before = fake(&stage);
        let served = (0..10).all(|_| connect(&stage) == ACCEPTED);
        let after = fake(&stage);
        let out = |backend: &Value| backend["state"] == "ejected";
        if out(&before) && out(&after) && before["ejections"] == after["ejections"] {
            assert!(served, "{before} {after}");
            break;
        }
    }

    broker.code.store(ACCEPTED, Ordering::Relaxed);
    stage.balancer.wait_active(LIMIT).unwrap();
    assert!((0..40).all(|_| connect(&stage) == ACCEPTED));
    assert_eq!(fake(&stage)["state"], "active");
}
