//! A broker out of a crate, so that the demo needs no package.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::topology::MQTT_PORT;

/// Serves MQTT 3.1.1 on every address of the namespace it runs in, until it is killed.
pub fn serve() -> Result<()> {
    // A socket of this address takes IPv4 connections too.
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), MQTT_PORT);
    let router = RouterConfig {
        max_connections: 10_000,
        max_outgoing_packet_count: 200,
        // Kept for each topic, however many there are; its clients don't lag behind.
        max_segment_size: 64 * 1024,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    let config = Config {
        router,
        v4: Some(HashMap::from([("mqtt".to_owned(), server(any))])),
        ..Config::default()
    };
    std::thread::spawn(switch_nagle_off);
    Broker::new(config).start().context("run the embedded broker")
}

/// The crate leaves Nagle's algorithm on: a message that follows a PUBACK would wait 40 ms for the
/// client's delayed acknowledgement. Connections inherit the option from the listening socket.
fn switch_nagle_off() {
    while !listening_sockets().any(|fd| setsockopt(&fd, sockopt::TcpNoDelay, &true).is_ok()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn listening_sockets() -> impl Iterator<Item = BorrowedFd<'static>> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // SAFETY: this program opens its listening socket at this point and never closes it; a number
    // that is another's fails the test below, and nothing else is done with it.
    let descriptors = numbers.map(|number: i32| unsafe { BorrowedFd::borrow_raw(number) });
    descriptors.filter(|fd| getsockopt(fd, sockopt::AcceptConn).unwrap_or(false))
}

fn server(listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: listen.to_string(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 64 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}
