//! What should be, what is, and the way from one to the other.
//!
//! Pure: `overlay` and `desired` (what should be), `members` and `layout` (what the tables should
//! hold), `admission` and `warming` (what limits new connections), `plan` (the edits that lead
//! there), `record`, `difference`. Around them: `apply` makes the
//! edits, `state_file` keeps what outlives the process, `controller` owns all of it, and `actor` is
//! the thread that it lives on.

pub mod actor;
pub mod admission;
pub mod apply;
pub mod checks;
mod commands;
pub mod controller;
pub mod counts;
pub mod datapath;
pub mod desired;
pub mod difference;
pub mod direct;
mod ejections;
pub mod error;
mod explain;
mod flows;
pub mod layout;
pub mod members;
#[cfg(test)]
pub mod memory;
mod no_data_plane;
pub mod overlay;
pub mod plan;
mod proxied;
pub mod rebalance;
pub mod record;
pub mod report;
pub mod ring_diff;
#[cfg(test)]
pub mod samples;
pub mod sessions;
pub mod state_file;
mod status;
pub mod tables;
pub mod trace;
pub mod transitions;
pub mod warming;

pub use no_data_plane::NoDataPlane;
