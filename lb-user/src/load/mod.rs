//! How loaded brokers are, by their own word; for the policy `least_load`.
//!
//! [`json`], [`prometheus`] and [`number`] find the load in an answer, and [`gauge`] says how long it is
//! believed, all without I/O. [`source`] has what a reading needs made ready, and [`readers`] reads the
//! brokers of a service again and again. The conversation with the broker is that of the health checks
//! ([`crate::health::probe`]).

pub mod gauge;
pub mod json;
pub mod number;
pub mod prometheus;
pub mod readers;
pub mod source;
