//! The MQTT probe against servers that behave well and badly.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::time::Duration;

use fake::{CONNACK, PINGRESP, answering, mqtt, mqtt5, packet, probed, probed_briefly, server};
use lb_user::config::model::{MqttCheck, Password, Probe, Secret};
use lb_user::health::probe::{Phase, ProbeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

async fn message(check: MqttCheck, answer: &'static [u8]) -> String {
    probed_briefly(Probe::Mqtt(check), answering(answer).await).await.to_string()
}

#[tokio::test]
async fn a_broker_that_accepts_is_healthy() {
    probed(Probe::Mqtt(mqtt()), answering(CONNACK).await).await.unwrap();
    let connack = &[0x20, 6, 0, 0, 3, 0x21, 0, 10];
    probed(Probe::Mqtt(mqtt5()), answering(connack).await).await.unwrap();
}

#[tokio::test]
async fn a_broker_on_ipv6_is_healthy_too() {
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        packet(&mut stream).await;
        stream.write_all(CONNACK).await.unwrap();
        packet(&mut stream).await;
    });
    probed(Probe::Mqtt(mqtt()), address).await.unwrap();
}

#[tokio::test]
async fn the_broker_sees_a_client_that_comes_asks_and_leaves_properly() {
    let (seen, mut packets) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            for answer in [CONNACK, PINGRESP, &[]] {
                seen.send(packet(&mut stream).await).unwrap();
                stream.write_all(answer).await.unwrap();
            }
            // After the DISCONNECT: the end, and no reset.
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            seen.send(b"end".to_vec()).unwrap();
        }
    })
    .await;
    let login = MqttCheck {
        username: Some("me".into()),
        password: Some(Password::Inline(Secret::new("pw".into()))),
        ping: true,
        ..mqtt()
    };
    probed(Probe::Mqtt(login), address).await.unwrap();
    let connect =
        b"\x10\x2b\x00\x04MQTT\x04\xc2\x00\x3c\x00\x17mqlb-health-lb1-mqtt-b1\x00\x02me\x00\x02pw";
    assert_eq!(packets.recv().await.unwrap(), connect);
    assert_eq!(packets.recv().await.unwrap(), [0xc0, 0], "PINGREQ");
    assert_eq!(packets.recv().await.unwrap(), [0xe0, 0], "DISCONNECT");
    assert_eq!(packets.recv().await.unwrap(), b"end");
}

#[tokio::test]
async fn a_password_file_is_read_without_its_line_break() {
    let path = std::env::temp_dir().join(format!("mqlb-password-{}", std::process::id()));
    std::fs::write(&path, "pw\n").unwrap();
    let (seen, mut packets) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(packet(&mut stream).await).unwrap();
            stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
            packet(&mut stream).await;
        }
    })
    .await;
    let token = MqttCheck { password: Some(Password::File(path.clone())), ..mqtt5() };
    let result = probed(Probe::Mqtt(token), address).await;
    std::fs::remove_file(&path).unwrap();
    result.unwrap();
    assert!(packets.recv().await.unwrap().ends_with(b"b1\x00\x02pw"));
}

#[tokio::test]
async fn a_refusal_is_told_by_its_name() {
    assert_eq!(message(mqtt(), &[0x20, 2, 0, 5]).await, "CONNACK code 0x05, not authorized");
    assert_eq!(message(mqtt(), &[0x20, 2, 0, 9]).await, "CONNACK code 0x09, reserved code");
    let full = b"\x20\x0a\x00\x97\x07\x1f\x00\x04full";
    assert_eq!(message(mqtt5(), full).await, "CONNACK code 0x97, quota exceeded (\"full\")");
    let old = "CONNACK code 0x01, unacceptable protocol version";
    assert_eq!(message(mqtt5(), &[0x20, 2, 0, 1]).await, old);
}

#[tokio::test]
async fn a_port_where_nothing_listens_refuses() {
    let error = probed_briefly(Probe::Mqtt(mqtt()), fake::nowhere().await).await;
    assert!(matches!(error, ProbeError::Refused), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let error = probed_briefly(Probe::Mqtt(mqtt()), answering(b"").await).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Connack, .. }), "{error}");
    let error = probed_briefly(Probe::Mqtt(mqtt()), answering(&CONNACK[..3]).await).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Connack, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_drips_does_not_stretch_the_timeout() {
    let address = server(|mut stream| async move {
        // A PUBLISH that never ends, behind a good CONNACK.
        let _ = stream.write_all(CONNACK).await;
        let _ = stream.write_all(&[0x30, 0x7f]).await;
        while stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = probed_briefly(Probe::Mqtt(MqttCheck { ping: true, ..mqtt() }), address).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Pingresp, .. }), "{error}");
}

#[tokio::test]
async fn a_slow_broker_is_healthy_within_the_timeout_and_its_latency_is_told() {
    let slow = Duration::from_millis(120);
    let address = server(move |mut stream| async move {
        for byte in CONNACK {
            tokio::time::sleep(slow / 4).await;
            stream.write_all(&[*byte]).await.unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let latency = probed(Probe::Mqtt(mqtt()), address).await.unwrap();
    assert!(latency >= slow, "{latency:?}");
}

#[tokio::test]
async fn a_server_that_closes_is_told_from_one_that_resets() {
    let closing = server(|mut stream| async move {
        packet(&mut stream).await;
    })
    .await;
    let error = probed_briefly(Probe::Mqtt(mqtt()), closing).await;
    assert!(matches!(error, ProbeError::Closed { phase: Phase::Connack }), "{error}");
    let partly = server(|mut stream| async move {
        packet(&mut stream).await;
        stream.write_all(&CONNACK[..3]).await.unwrap();
    })
    .await;
    let error = probed_briefly(Probe::Mqtt(mqtt()), partly).await;
    assert!(matches!(error, ProbeError::Closed { phase: Phase::Connack }), "{error}");
    let resetting = server(|mut stream| async move {
        packet(&mut stream).await;
        // Closed with SO_LINGER 0, a socket is reset.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = probed_briefly(Probe::Mqtt(mqtt()), resetting).await;
    assert!(matches!(error, ProbeError::Reset { phase: Phase::Connack }), "{error}");
}

#[tokio::test]
async fn what_is_no_broker_is_told_so() {
    let ssh = message(mqtt(), b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_eq!(ssh, "an unexpected packet of type 5 waiting for CONNACK");
    let zeros = message(mqtt(), &[0, 0, 0, 0]).await;
    assert_eq!(zeros, "no MQTT 3.1.1: packet type 0 is reserved (waiting for CONNACK)");
    let malformed = message(mqtt(), &[0x20, 3, 0, 0, 0]).await;
    let expected = "3 bytes after the fixed header, which is no CONNACK's length";
    assert_eq!(malformed, format!("malformed CONNACK of MQTT 3.1.1: {expected}"));
    let long = message(mqtt(), &[0x20, 0xff, 0xff, 0xff, 0x7f]).await;
    assert_eq!(long, "a packet of 268435455 bytes waiting for CONNACK");
}

#[tokio::test]
async fn a_ping_must_be_answered_but_may_wait_behind_pushed_messages() {
    let ping = || Probe::Mqtt(MqttCheck { ping: true, ..mqtt() });
    let pushing = server(|mut stream| async move {
        packet(&mut stream).await;
        stream.write_all(CONNACK).await.unwrap();
        packet(&mut stream).await;
        stream.write_all(b"\x30\x08\x00\x04newshi\xd0\x00").await.unwrap();
        packet(&mut stream).await;
    })
    .await;
    let error = probed_briefly(ping(), answering(CONNACK).await).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Pingresp, .. }), "{error}");
    probed(ping(), pushing).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_is_shutting_down_says_so() {
    let check = MqttCheck { ping: true, ..mqtt5() };
    let text = message(check, &[0x20, 3, 0, 0, 0, 0xe0, 1, 0x8b]).await;
    assert_eq!(text, "DISCONNECT code 0x8b, server shutting down");
}
