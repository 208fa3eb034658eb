//! The controller of mqlb.

pub mod config;
pub mod control;
pub mod datapath;
pub mod health;
pub mod mqtt;
pub mod ring;
