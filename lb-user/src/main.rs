//! The command line of mqlb.
fn main() {}
