//! The controller of mqlb.

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
pub mod doctor;
pub mod health;
pub mod load;
pub mod metrics;
pub mod mqtt;
pub mod netlink;
pub mod pcapng;
pub mod privileges;
pub mod proxy;
pub mod ring;
pub mod vips;
