//! Which brokers are healthy.
//!
//! [`state`] decides and [`schedule`] says when, both without I/O; [`ejection`] decides by what
//! clients are answered; [`probe`] asks one broker once;
//! [`checker`] ties them together for every broker of every service.

pub mod checker;
pub mod client_id;
pub mod ejection;
pub mod probe;
pub mod schedule;
pub mod state;
pub mod target;
