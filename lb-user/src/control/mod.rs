//! What should be, what is, and the way from one to the other.

pub mod datapath;
pub mod desired;
pub mod layout;
pub mod members;
#[cfg(test)]
pub mod memory;
pub mod overlay;
pub mod plan;
pub mod record;
pub mod state_file;
pub mod tables;
