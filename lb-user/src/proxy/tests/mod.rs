//! Services as a whole, over sockets: what clients and brokers see.

mod authentication;
mod begin;
mod bounds;
mod documented;
mod end;
mod leaving;
mod load;
mod pass;
mod passthrough;
mod rebalance;
mod rig;
mod sticky;
mod tls;
