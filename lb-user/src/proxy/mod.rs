//! The mode `mqtt`: connections that are handled in userspace, because deciding over them needs the
//! CONNECT.

pub mod choose;
pub mod pacing;
pub mod proxy_protocol;
pub mod rebalance;
pub mod sticky;
pub mod tls;
