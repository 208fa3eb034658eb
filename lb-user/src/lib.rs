//! The controller of mqlb.

pub mod control;
pub mod config;
