//! The controller of mqlb.
