//! Networks of namespaces with real brokers and real MQTT clients, and `mqlb` between them.
//!
//! The end-to-end tests, `xtask demo` and `xtask bench` stand on this library. It knows `mqlb` only
//! as a program: by its command line, its configuration file and its socket.
//!
//! Whatever it makes (namespaces, processes, mounts, directories) is removed when its guard is
//! dropped, also while a test panics; [`cleanup::on_signals`] does the same on Ctrl-C, and
//! [`cleanup::sweep_stale`] removes what a run that was killed left behind.

pub mod balancer;
pub mod broker;
pub mod cleanup;
pub mod decap;
#[cfg(feature = "embedded-broker")]
pub mod embedded;
pub mod fleet;
pub mod flood;
pub mod kernel;
pub mod netns;
pub mod nftables;
pub mod offload;
pub mod other_build;
pub mod process;
pub mod scratch;
pub mod sockets;
pub mod tables;
pub mod topology;
pub mod traces;
pub mod xdp;

mod requirements;

pub use requirements::{exclusive, raise_open_files, require_root};
