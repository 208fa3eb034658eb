//! The controller of mqlb.

pub mod config;
pub mod control;
pub mod ring;
