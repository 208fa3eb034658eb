//! What is told of a packet, for people and programs.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use lb_common::{
    addr::Addr,
    trace::{Ends, TraceEvent},
    verdict::{Action, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::model::{Config, Mode},
    control::overlay::Overlay,
};

/// A packet as the data plane tells of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it came, in microseconds of Unix time.
    pub time_us: u64,
    /// What became of it.
    pub event: TraceEvent,
    /// What was caught of it, as it came and then as it goes on.
    pub caught: Vec<u8>,
    /// The interface that it came in by.
    pub came_by: String,
    /// The interface that it is sent out of; `None` if it is not.
    pub goes_by: Option<String>,
}

/// A line of what a trace tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceLine {
    /// A packet.
    Packet(Box<TracePacket>),
    /// The last one.
    End(TraceEnd),
    /// The last one, if something went wrong.
    Error(String),
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePacket {
    /// When it came, in microseconds of Unix time.
    pub time_us: u64,
    /// Its verdict.
    pub verdict: String,
    /// Its backend, as `SERVICE/BACKEND`, as far as its addresses show it.
    pub backend: Option<String>,
    /// The interface that it came in by.
    pub r#in: String,
    /// The interface that it is sent out of; `None` if it is not.
    pub out: Option<String>,
    /// The packet as it came.
    pub came: FrameReport,
    /// The packet as it goes on; `None` if it does not, or not changed.
    pub goes: Option<FrameReport>,
}

/// A packet at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameReport {
    /// Its source: address and port of a TCP segment, else the address; `None` if it is not IP.
    pub from: Option<String>,
    /// Its destination.
    pub to: Option<String>,
    /// The flags of a TCP segment, as tcpdump writes them.
    pub tcp_flags: String,
    /// Bytes of the frame.
    pub length: u32,
    /// Its first bytes in hexadecimal digits.
    pub bytes: String,
}

/// How a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEnd {
    /// Why.
    pub why: WhyEnded,
    /// Packets that were told of.
    pub packets: u64,
    /// Packets that could not be told of, because nobody read fast enough.
    pub lost: u64,
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyEnded {
    /// As many packets as were asked for.
    Count,
    /// The time is over.
    Duration,
    /// Somebody wanted it.
    Told,
    /// Whoever asked does not listen any more.
    Gone,
}

/// Names of backends by VIP and broker; the port of a broker is 0 where packets do not bear it.
#[derive(Debug)]
pub(super) struct BackendNames(BTreeMap<(SocketAddr, SocketAddr), String>);

impl BackendNames {
    pub(super) fn new(config: &Config, overlay: &Overlay) -> Self {
        let mut names = BTreeMap::new();
        for service in &config.services {
            for backend in overlay.backends(service) {
                let port = if service.mode == Mode::Ipip { 0 } else { backend.port };
                let broker = SocketAddr::new(backend.address, port);
                let name = format!("{}/{}", service.name, backend.name);
                names.insert((service.address(), broker), name);
            }
        }
        Self(names)
    }

    /// The backend of a packet from the client, or to it.
    fn of(&self, came: &Ends, goes: &Ends) -> Option<&str> {
        let destination = |ends: &Ends| socket(ends.destination, ends.destination_port);
        let source = |ends: &Ends| socket(ends.source, ends.source_port);
        let to_broker = (destination(came), destination(goes));
        let to_client = (source(goes), source(came));
        [to_broker, to_client].iter().find_map(|ends| self.0.get(ends)).map(String::as_str)
    }
}

fn socket(address: Addr, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(address.into(), u16::from_be_bytes(port))
}

impl Told {
    pub(super) fn report(&self, names: &BackendNames) -> TracePacket {
        let event = &self.event;
        let verdict = Verdict::ALL.get(event.verdict as usize);
        let (came, goes) =
            self.caught.split_at_checked(event.came_caught as usize).unwrap_or_default();
        let drops = verdict.is_none_or(|verdict| verdict.action() == Action::Drop);
        let unchanged = came == goes && event.came_len == event.goes_len;
        let passes = verdict.is_some_and(|verdict| verdict.action() == Action::Pass);
        let goes_on = !drops && (!passes || !unchanged);
        TracePacket {
            time_us: self.time_us,
            verdict: verdict.map_or_else(|| event.verdict.to_string(), |v| v.name().to_owned()),
            backend: names.of(&event.came, &event.goes).map(str::to_owned),
            r#in: self.came_by.clone(),
            out: self.goes_by.clone(),
            came: FrameReport::new(&event.came, event.came_len, came),
            goes: goes_on.then(|| FrameReport::new(&event.goes, event.goes_len, goes)),
        }
    }
}

impl FrameReport {
    fn new(ends: &Ends, length: u32, bytes: &[u8]) -> Self {
        Self {
            from: end(ends.source, ends.source_port),
            to: end(ends.destination, ends.destination_port),
            tcp_flags: tcp_flags(ends.tcp_flags),
            length,
            bytes: bytes.iter().fold(String::new(), |mut digits, byte| {
                // Writing to a String cannot fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            }),
        }
    }

    /// Its first bytes; those before a digit that is none.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let pairs = self.bytes.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        pairs.map_while(byte).collect()
    }
}

fn end(address: Addr, port: [u8; 2]) -> Option<String> {
    let socket = socket(address, port);
    if address == Addr::default() {
        return None;
    }
    Some(if socket.port() == 0 { socket.ip().to_string() } else { socket.to_string() })
}

/// As tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`; `.` is ACK.
fn tcp_flags(flags: u8) -> String {
    let letters = [(0, 'F'), (1, 'S'), (2, 'R'), (3, 'P'), (4, '.'), (5, 'U')];
    letters.iter().filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Ends {
        let [from, to] = [from, to].map(|text| text.parse::<SocketAddr>().unwrap());
        Ends {
            source: from.ip().into(),
            destination: to.ip().into(),
            source_port: from.port().to_be_bytes(),
            destination_port: to.port().to_be_bytes(),
            tcp_flags: 0x12,
            pad: [0; 3],
        }
    }

    fn names() -> BackendNames {
        let config = crate::config::parse(
            "
interfaces: [{ name: eth0 }]
nat: { addresses: [10.0.0.2], ports: 15000-15999 }
tunnel: { sources: [10.99.0.0/16] }
services:
  - { name: mqtt, vip: 192.0.2.10, port: 1883, backends: [{ name: b1, address: 10.0.1.1, port: 1884 }] }
  - { name: far, vip: 192.0.2.11, port: 1883, mode: ipip, backends: [{ name: b1, address: 10.0.1.1 }] }
",
        );
        BackendNames::new(&config.unwrap(), &Overlay::default())
    }

    fn told(verdict: Verdict, came: Ends, goes: Ends) -> TracePacket {
        let event = TraceEvent {
            verdict: verdict as u32,
            came_len: 74,
            goes_len: 74,
            came_caught: 2,
            goes_caught: 1,
            came,
            goes,
            ..TraceEvent::default()
        };
        let told = Told {
            time_us: 1,
            event,
            caught: vec![0xab, 1, 2],
            came_by: "eth0".into(),
            goes_by: Some("eth1".into()),
        };
        told.report(&names())
    }

    const CLIENT: &str = "198.51.100.7:40000";

    #[test]
    fn the_backend_is_known_by_the_addresses_of_both_directions() {
        let came = ends(CLIENT, "192.0.2.10:1883");
        let request = told(Verdict::ToBackend, came, ends("10.0.0.2:15000", "10.0.1.1:1884"));
        assert_eq!(request.backend.as_deref(), Some("mqtt/b1"));
        let came = ends("10.0.1.1:1884", "10.0.0.2:15000");
        let reply = told(Verdict::ToClient, came, ends("192.0.2.10:1883", CLIENT));
        assert_eq!(reply.backend.as_deref(), Some("mqtt/b1"));
        let came = ends(CLIENT, "192.0.2.11:1883");
        let wrapped = told(Verdict::ToBackend, came, ends("10.99.0.1:0", "10.0.1.1:0"));
        assert_eq!(wrapped.backend.as_deref(), Some("far/b1"));
        let stranger = told(Verdict::NotOurs, came, came);
        assert_eq!(stranger.backend, None);
    }

    #[test]
    fn a_packet_has_its_ends_flags_and_bytes() {
        let came = ends(CLIENT, "192.0.2.10:1883");
        let packet = told(Verdict::ToBackend, came, ends("[fd00::2]:15000", "10.0.1.1:0"));
        assert_eq!(packet.came.from.as_deref(), Some(CLIENT));
        assert_eq!((packet.came.tcp_flags.as_str(), packet.came.bytes.as_str()), ("S.", "ab01"));
        assert_eq!(packet.came.bytes(), [0xab, 1]);
        let goes = packet.goes.unwrap();
        assert_eq!(goes.from.as_deref(), Some("[fd00::2]:15000"));
        assert_eq!((goes.to.as_deref(), goes.bytes()), (Some("10.0.1.1"), vec![2]));
    }

    #[test]
    fn what_is_dropped_does_not_go_on() {
        let came = ends(CLIENT, "192.0.2.10:1883");
        assert_eq!(told(Verdict::NoRoute, came, came).goes, None);
        assert!(told(Verdict::UnknownFlowReset, came, came).goes.is_some());
    }
}
