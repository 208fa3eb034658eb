//! Tests of the configuration as a whole.

mod documented;
mod invalid;
mod keys;
mod properties;
mod samples;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A path below the root of the workspace.
fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The text of a file of the workspace.
fn text_of(path: &str) -> String {
    fs::read_to_string(workspace(path)).unwrap()
}
