//! Mode `nat`: both addresses are rewritten, and replies pass through the balancer.
//!
//! Every flow is remembered in both directions: towards the broker under its 5-tuple, back to the
//! client under the source port that it was given.

pub mod claim;
mod close;
mod errors;
mod from_broker;
mod from_client;
mod greeting;
mod handshake;

pub(crate) use errors::{to_backend as error_to_backend, to_client as error_to_client};
pub(crate) use from_broker::{decide as to_client, peer};
pub(crate) use from_client::decide as to_backend;
