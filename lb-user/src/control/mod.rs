//! What should be, what is, and the way from one to the other.

pub mod datapath;
