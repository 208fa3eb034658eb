//! The world of the pipeline in memory: frames, tables, and the golden conversations.
//!
//! For tests, the fuzz target and the differential model; never part of the XDP program.

pub mod frame;
pub mod fuzz;
pub mod golden;
pub mod icmp;
mod intact;
mod ip;
pub mod random;
pub mod tables;
pub mod tunnelled;

pub use frame::{Bytes, Frame};
pub use icmp::Icmp;
pub use random::Random;
pub use tables::World;
pub use tunnelled::Tunnelled;
