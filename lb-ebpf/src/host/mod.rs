//! The world of the pipeline in memory: frames, tables, and the golden conversations.
//!
//! For tests, the fuzz target and the differential model; never part of the XDP program.

pub mod frame;
pub mod golden;
pub mod icmp;
mod ip;
pub mod tables;
pub mod tunnelled;

pub use frame::{Bytes, Frame};
pub use icmp::Icmp;
pub use tables::World;
pub use tunnelled::Tunnelled;
