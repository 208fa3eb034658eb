//! The configuration: a YAML file, checked as a whole and turned into a [`model::Config`].
//!
//! Nothing outside this module sees the shape of the file; [`model`] is what the rest works with.

pub mod model;
