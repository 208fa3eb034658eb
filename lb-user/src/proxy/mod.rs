//! The mode `mqtt`: connections that are handled in userspace, because deciding over them needs the
//! CONNECT.
//!
//! A client's way: `listener` accepts it, `session` reads its CONNECT, `choose` picks a backend,
//! `offer` asks the broker there, and the next one if it cannot serve, and `relay` copies bytes until
//! the end. The controller owns what there is to choose from, and hands it over as a whole
//! ([`spec`]); [`Proxies`] is how it does that, and how it sees what became of it.

mod backend;
mod boundary;
pub mod choose;
mod end;
mod half;
mod listener;
mod log;
mod offer;
pub mod pacing;
mod policy;
mod proxies;
pub mod proxy_protocol;
pub mod rebalance;
mod registry;
mod relay;
mod service;
mod session;
mod sides;
mod socket;
pub mod spec;
pub mod sticky;
mod stream;
mod takeover;
pub mod tls;
mod waiting;

pub use end::Refused;
pub use proxies::{PrepareError, Proxies, Ready, Seen};
pub use registry::Connection;
