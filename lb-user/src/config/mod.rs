//! The configuration: a YAML file, checked as a whole and turned into a [`model::Config`].
//!
//! text -> `raw` (shape) -> `check` (meaning, every mistake collected) -> [`model`]. Nothing outside
//! this module sees the shape of the file; [`model`] is what the rest works with.

mod check;
pub mod defaults;
mod error;
mod fault;
mod files;
mod locate;
pub mod model;
mod path;
mod raw;
pub mod rules;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

use std::{fs::File, io::Read, path::Path};

pub use error::{ConfigError, Issue, Location, render_error};
pub use fault::Fault;
pub use files::check_files;
use model::Config;
pub use path::{Step, YamlPath};

/// A larger file is no configuration; reading it whole would be a mistake.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads and checks the configuration in the file `path`. Opens nothing else: see [`check_files`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path).map_err(|source| ConfigError::Read { file: path.into(), source })?;
    parse(&text).map_err(|error| error.in_file(path))
}

/// Checks the configuration `text` (YAML).
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let raw = syntax::read(text).map_err(|issue| ConfigError::invalid(vec![issue]))?;
    Config::try_from(raw).map_err(|mut issues| {
        for issue in &mut issues {
            issue.location = locate::locate(text, &issue.path);
        }
        issues.sort_by_key(|issue| issue.location);
        ConfigError::invalid(issues)
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
