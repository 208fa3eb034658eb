//! The mode `mqtt`: connections that are handled in userspace, because deciding over them needs the
//! CONNECT.
//!
//! A client's way: `listener` accepts it and gives it to one of the `workers`, `session` reads its CONNECT, `choose` picks a backend,
//! `offer` asks the broker there, and the next one if it cannot serve, and `relay` copies bytes until
//! the end. Where TLS is passed through, `passthrough` reads its `ClientHello` in place of the CONNECT,
//! and `routing` says which backends its name leads to. The controller owns what there is to choose
//! from, and hands it over as a whole ([`spec`]); [`Proxies`] is how it does that, and how it sees what
//! became of it.

mod authentication;
mod backend;
mod boundary;
pub mod choose;
mod departure;
mod end;
mod error;
mod farewell;
mod half;
mod header;
mod listener;
mod loads;
mod log;
mod offer;
mod opening;
mod pace;
pub mod pacing;
mod passthrough;
mod policy;
mod prepare;
mod proxies;
pub mod proxy_protocol;
pub mod rebalance;
pub mod rebalancing;
mod registry;
mod relay;
mod routing;
mod service;
mod session;
mod sessions;
mod sides;
mod socket;
mod source;
pub mod spec;
pub mod sticky;
mod stream;
mod takeover;
#[cfg(test)]
mod tests;
pub mod tls;
mod waiting;
mod workers;

use std::net::SocketAddr;

use crate::config::model::SendProxyProtocol;

pub use end::Refused;
pub use error::PrepareError;
pub use prepare::Ready;
pub use proxies::{Proxies, Seen};
pub use registry::Connection;
pub use sessions::{Remembered, Sessions};

/// What a connection that the balancer opens for itself, from `source` to `broker`, begins with where
/// brokers want a header of the PROXY protocol: its own addresses. There are words for a connection that
/// is nobody's (LOCAL, UNKNOWN), but `RabbitMQ` 3.10 closes those, and speaks no MQTT on them.
#[must_use]
pub fn header_of_our_own(
    send: SendProxyProtocol,
    source: SocketAddr,
    broker: SocketAddr,
) -> Vec<u8> {
    header::of(send, source, broker, proxy_protocol::Tlvs::default())
}
