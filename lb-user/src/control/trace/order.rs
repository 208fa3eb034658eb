//! Which packets may be asked for, and how that becomes a filter.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use lb_common::{
    addr::Addr,
    trace::{EndFilter, MOST_CAUGHT, TraceFilter},
    verdict::{Action, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::model::{Backend, Mode, Prefix, Service},
    control::{controller::Controller, error::ChangeError, overlay::CommandError},
};

/// Which packets are to be followed. What is left out does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceOrder {
    /// The address or the prefix of the client.
    pub client: Option<String>,
    /// The port of the client.
    pub client_port: Option<u16>,
    /// The service, by its name or its address and port.
    pub service: Option<String>,
    /// The backend; names a backend of `service`.
    pub backend: Option<String>,
    /// Names of verdicts, or `pass`, `forward`, `drop` and `reply` for all that lead to it.
    pub verdicts: Vec<String>,
    /// One of so many packets that fit.
    pub every: u32,
    /// End after so many packets.
    pub count: u64,
    /// End after so many seconds.
    pub duration_s: u64,
    /// Catch at most so many bytes of each packet.
    pub snap_bytes: u32,
}

/// What is sensible.
#[derive(Debug)]
pub struct Limits;

impl Limits {
    /// Of [`TraceOrder::every`].
    pub const EVERY: RangeInclusive<u64> = 1..=1_000_000;
    /// Of [`TraceOrder::count`].
    pub const COUNT: RangeInclusive<u64> = 1..=1_000_000;
    /// Of [`TraceOrder::duration_s`].
    pub const DURATION_S: RangeInclusive<u64> = 1..=3600;
    /// Of [`TraceOrder::snap_bytes`]; Ethernet headers at least.
    pub const SNAP_BYTES: RangeInclusive<u64> = 14..=MOST_CAUGHT as u64;
}

impl Default for TraceOrder {
    fn default() -> Self {
        Self {
            client: None,
            client_port: None,
            service: None,
            backend: None,
            verdicts: Vec::new(),
            every: 1,
            count: 1000,
            duration_s: 60,
            snap_bytes: 256,
        }
    }
}

/// Why packets are not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceRefusal {
    /// There is one trace at a time.
    #[error("somebody else is tracing packets; that ends in {left_s} s at the latest")]
    Busy {
        /// Seconds until it ends.
        left_s: u64,
    },
    /// A number that is too small or too large.
    #[error("{key} is {least} to {most}, not {value}")]
    Range {
        /// What it is a value of.
        key: &'static str,
        /// The smallest one.
        least: u64,
        /// The largest one.
        most: u64,
        /// What was asked for.
        value: u64,
    },
    /// Not a client.
    #[error("{0:?} is neither an address nor a prefix")]
    Client(String),
    /// No verdict.
    #[error("there is no verdict {0:?}")]
    Verdict(String),
    /// A backend alone.
    #[error("a backend is named, but not its service")]
    NoService,
    /// A backend that packets do not show.
    #[error("packets to backends of service {0}, which is in mode dsr, do not bear their address")]
    Unseen(String),
}

impl TraceRefusal {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Busy { .. } => {
                "there is one trace at a time: wait until it has ended, or end it: curl -X DELETE \
                            --unix-socket SOCKET http://mqlb/v1/trace"
            }
            Self::Range { .. } => "a trace is bounded; ask again when it has ended",
            Self::Client(_) => "such as 198.51.100.7 or 198.51.100.0/24",
            Self::Verdict(_) => {
                "`mqlb status` shows verdicts, docs/metrics.md names all; pass, forward, drop and \
                 reply stand for all verdicts with that action"
            }
            Self::NoService => "name the service, too",
            Self::Unseen(_) => {
                "trace the service; the Ethernet address that a packet leaves for tells the broker"
            }
        }
    }
}

/// The prefix that `text` names, or the one address.
pub fn client_prefix(text: &str) -> Result<Prefix, TraceRefusal> {
    let wrong = || TraceRefusal::Client(text.to_owned());
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Prefix::new(address, 128));
    }
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u8 = bits.parse().map_err(|_| wrong())?;
    let prefix = Prefix::new(address, bits);
    if prefix.bits() == bits { Ok(prefix) } else { Err(wrong()) }
}

/// The verdicts that `name` names, one bit each.
pub fn verdicts_named(name: &str) -> Result<u64, TraceRefusal> {
    let action = match name {
        "pass" => Some(Action::Pass),
        "forward" => Some(Action::Forward),
        "drop" => Some(Action::Drop),
        "reply" => Some(Action::Reply),
        _ => None,
    };
    let meant = |verdict: &&Verdict| match action {
        Some(action) => verdict.action() == action,
        None => verdict.name() == name,
    };
    let bits =
        Verdict::ALL.iter().filter(meant).fold(0, |bits, verdict| bits | 1 << *verdict as u32);
    if bits == 0 { Err(TraceRefusal::Verdict(name.to_owned())) } else { Ok(bits) }
}

impl Controller {
    /// What the program is told of `order`.
    pub(super) fn trace_filter(&self, order: &TraceOrder) -> Result<TraceFilter, ChangeError> {
        in_range("every", order.every.into(), Limits::EVERY)?;
        in_range("count", order.count, Limits::COUNT)?;
        in_range("duration_s", order.duration_s, Limits::DURATION_S)?;
        in_range("snap_bytes", order.snap_bytes.into(), Limits::SNAP_BYTES)?;
        let mut verdicts = 0;
        for name in &order.verdicts {
            verdicts |= verdicts_named(name)?;
        }
        if order.verdicts.is_empty() {
            verdicts = TraceFilter::ALL_VERDICTS;
        }
        let client = order.client.as_deref().map(client_prefix).transpose()?;
        let port = order.client_port.unwrap_or_default();
        let client = client.map_or_else(
            || EndFilter::new(Addr::default(), 0, port),
            |prefix| {
                let bits = if prefix.address().is_ipv4() { 96 } else { 0 } + prefix.bits();
                EndFilter::new(prefix.address().into(), bits, port)
            },
        );
        let [service, broker] = self.trace_ends(order)?;
        Ok(TraceFilter {
            session: 0,
            until_ns: 0,
            verdicts,
            most_caught: order.snap_bytes,
            every: order.every,
            ends: [client, service, broker],
        })
    }

    /// The ends that are the service's and the broker's.
    fn trace_ends(&self, order: &TraceOrder) -> Result<[EndFilter; 2], ChangeError> {
        let whole = |socket: SocketAddr| EndFilter::new(socket.ip().into(), 128, socket.port());
        let Some(name) = &order.service else {
            return match order.backend {
                Some(_) => Err(TraceRefusal::NoService.into()),
                None => Ok([EndFilter::default(); 2]),
            };
        };
        let named = name.parse::<SocketAddr>().ok();
        let service = match named {
            Some(vip) => self.config.services.iter().find(|service| service.address() == vip),
            None => Some(self.service(name)?),
        };
        let vip = service.map(Service::address).or(named).map(whole);
        let vip = vip.unwrap_or_default();
        let Some(backend) = &order.backend else { return Ok([vip, EndFilter::default()]) };
        let service = service.ok_or_else(|| CommandError::NoService(name.clone()))?;
        let known = self.overlay.backends(service);
        let socket = known.iter().find(|b| b.name == **backend).map(Backend::socket);
        let missing =
            || CommandError::NoBackend { service: service.name.clone(), backend: backend.clone() };
        let broker = whole(socket.ok_or_else(missing)?);
        match service.mode {
            // In `mqtt` the kernel connects to brokers as for any program.
            Mode::Dsr | Mode::Mqtt => Err(TraceRefusal::Unseen(service.name.to_string()).into()),
            // The outer header has no ports.
            Mode::Ipip => Ok([vip, EndFilter { port: [0; 2], ..broker }]),
            Mode::Nat => Ok([vip, broker]),
        }
    }
}

fn in_range(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), TraceRefusal> {
    let (least, most) = (*range.start(), *range.end());
    if range.contains(&value) {
        Ok(())
    } else {
        Err(TraceRefusal::Range { key, least, most, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_prefix() {
        assert_eq!(client_prefix("198.51.100.7"), Ok("198.51.100.7/32".parse().unwrap()));
        assert_eq!(client_prefix("198.51.100.7/24"), Ok("198.51.100.0/24".parse().unwrap()));
        assert_eq!(client_prefix("2001:db8::7"), Ok("2001:db8::7/128".parse().unwrap()));
        for wrong in ["", "broker", "198.51.100.7/33", "198.51.100.7/", "198.51.100.7:40000"] {
            assert_eq!(client_prefix(wrong), Err(TraceRefusal::Client(wrong.to_owned())));
        }
    }

    #[test]
    fn verdicts_are_named_one_by_one_or_by_what_they_lead_to() {
        assert_eq!(verdicts_named("to_backend"), Ok(1 << Verdict::ToBackend as u32));
        let all = ["pass", "forward", "drop", "reply"].map(|name| verdicts_named(name).unwrap());
        assert_eq!(all.iter().fold(0, |all, bits| all | bits), TraceFilter::ALL_VERDICTS);
        assert_eq!(
            all.iter().map(|bits| bits.count_ones()).sum::<u32>(),
            Verdict::ALL.len() as u32
        );
        assert!(verdicts_named("to_backends").is_err());
    }
}
