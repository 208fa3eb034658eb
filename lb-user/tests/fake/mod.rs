//! Small servers on loopback that behave well or badly, and checks that probe them.
#![allow(dead_code, reason = "every test file uses some of these")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use lb_user::config::model::{
    HealthCheck, HttpCheck, MqttCheck, MqttVersion, Probe, StatusRange, Timing, Tls,
};
use lb_user::health::probe::{ProbeError, probe};
use lb_user::health::target::{ServiceCheck, Target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The CONNACK of MQTT 3.1.1 that accepts.
pub const CONNACK: &[u8] = &[0x20, 2, 0, 0];
pub const PINGRESP: &[u8] = &[0xd0, 0];

/// Serves every connection with `behaviour`, until the test ends.
pub async fn server<F, Fut>(behaviour: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behaviour(stream));
        }
    });
    address
}

/// Reads the CONNECT, sends `answer`, and then waits for the client to close.
pub async fn answering(answer: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        packet(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// The next MQTT packet (of less than 128 bytes), or nothing if the client closed.
pub async fn packet(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut header = [0; 2];
    if stream.read_exact(&mut header).await.is_err() {
        return Vec::new();
    }
    assert!(header[1] < 0x80, "longer than the tests send");
    let mut packet = header.to_vec();
    packet.resize(2 + usize::from(header[1]), 0);
    stream.read_exact(&mut packet[2..]).await.unwrap();
    packet
}

/// An address where nothing listens.
pub async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub fn timing(timeout: Duration) -> Timing {
    Timing { interval: timeout * 2, timeout, rise: 1, fall: 2, jitter_percent: 0 }
}

pub fn mqtt() -> MqttCheck {
    MqttCheck {
        version: MqttVersion::V311,
        client_id: "mqlb-health-{host}-{backend}".into(),
        username: None,
        password: None,
        ping: false,
        tls: None,
    }
}

pub fn mqtt5() -> MqttCheck {
    MqttCheck { version: MqttVersion::V5, ..mqtt() }
}

pub fn http(path: &str) -> HttpCheck {
    let ok = StatusRange { first: 200, last: 200 };
    HttpCheck { path: path.into(), host: None, status: vec![ok], tls: None }
}

pub const fn tls() -> Tls {
    Tls { ca_file: None, server_name: None, insecure: false }
}

pub fn target(check: Probe, address: SocketAddr, timeout: Duration) -> Target {
    let check = HealthCheck { probe: check, timing: timing(timeout), port: None };
    ServiceCheck::load(&check, "lb1", "mqtt").unwrap().target("b1", address).unwrap()
}

/// Probes once, with a timeout that no good answer on loopback needs.
pub async fn probed(check: Probe, address: SocketAddr) -> Result<Duration, ProbeError> {
    probe(&target(check, address, Duration::from_secs(5))).await
}

/// Probes once, with a short timeout, what will never give a good answer.
pub async fn probed_briefly(check: Probe, address: SocketAddr) -> ProbeError {
    let started = std::time::Instant::now();
    let error = probe(&target(check, address, Duration::from_millis(150))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(700), "took {:?}", started.elapsed());
    error
}
