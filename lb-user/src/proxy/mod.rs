//! The mode `mqtt`: connections that are handled in userspace, because deciding over them needs the
//! CONNECT.
//!
//! A client's way: `listener` accepts it and gives it to one of the `workers`, `session` reads its CONNECT, `choose` picks a backend,
//! `offer` asks the broker there, and the next one if it cannot serve, and `relay` copies bytes until
//! the end. Where TLS is passed through, `passthrough` reads its `ClientHello` in place of the CONNECT,
//! and `routing` says which backends its name leads to. The controller owns what there is to choose
//! from, and hands it over as a whole ([`spec`]); [`Proxies`] is how it does that, and how it sees what
//! became of it.

mod backend;
mod boundary;
pub mod choose;
mod end;
mod farewell;
mod half;
mod header;
mod listener;
mod log;
mod offer;
mod pace;
pub mod pacing;
mod passthrough;
mod policy;
mod prepare_error;
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
pub mod spec;
pub mod sticky;
mod stream;
mod takeover;
#[cfg(test)]
mod tests;
pub mod tls;
mod waiting;
mod workers;

use crate::config::model::MqttSettings;

pub use end::Refused;
pub use prepare_error::PrepareError;
pub use proxies::{Proxies, Ready, Seen};
pub use registry::Connection;
pub use sessions::{Remembered, Sessions};

/// What a connection that the balancer opens for itself begins with, where brokers want a header of
/// the PROXY protocol.
#[must_use]
pub fn header_of_our_own(settings: &MqttSettings) -> Vec<u8> {
    header::of_our_own(settings.send_proxy_protocol)
}
