//! The controller of mqlb.

pub mod control;
