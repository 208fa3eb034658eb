//! What is wrong with a configuration, and how it is shown.

use std::{
    fmt::{self, Write as _},
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{fault::Fault, path::YamlPath};

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was read and has mistakes.
    Invalid {
        /// The file, if the configuration came from one.
        file: Option<PathBuf>,
        /// Every mistake found, in the order of the file.
        issues: Vec<Issue>,
    },
}

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// Where in the structure, as in `services[1].port`; empty for a mistake of syntax.
    pub path: YamlPath,
    /// Where in the text, if known.
    pub location: Option<Location>,
    /// What is wrong and what to do about it.
    #[serde(flatten)]
    pub fault: Fault,
}

/// A place in a text, both numbers counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl ConfigError {
    pub(super) const fn invalid(issues: Vec<Issue>) -> Self {
        Self::Invalid { file: None, issues }
    }

    pub(super) fn in_file(mut self, path: &Path) -> Self {
        if let Self::Invalid { file, .. } = &mut self {
            *file = Some(path.into());
        }
        self
    }

    /// Every mistake as one text of two lines: what is wrong, and a hint.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Read { file, source } => {
                let hint = read_hint(source);
                vec![format!("{}: cannot be read: {source}\n  hint: {hint}", file.display())]
            }
            Self::Invalid { file, issues } => {
                issues.iter().map(|issue| issue.line(file.as_deref())).collect()
            }
        }
    }
}

impl Issue {
    fn line(&self, file: Option<&Path>) -> String {
        let mut line = String::new();
        let Fault { problem, hint } = &self.fault;
        // Writing to a String cannot fail.
        let _ = match (file, self.location) {
            (Some(file), Some(at)) => write!(line, "{}:{at}: ", file.display()),
            (Some(file), None) => write!(line, "{}: ", file.display()),
            (None, Some(at)) => write!(line, "{at}: "),
            (None, None) => Ok(()),
        };
        if !self.path.steps().is_empty() {
            let _ = write!(line, "{}: ", self.path);
        }
        let _ = write!(line, "{problem}\n  hint: {hint}");
        line
    }
}

fn read_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "name a file that exists",
        io::ErrorKind::PermissionDenied => "run as root, or make the file readable for this user",
        io::ErrorKind::InvalidData => "the file must be UTF-8 text",
        io::ErrorKind::FileTooLarge => "a configuration has at most 16 MiB",
        _ => "check the file and the disk that holds it",
    }
}

/// `error` as the command line shows it, without a line break at the end: one line `error: ...`
/// and one line `hint: ...` per mistake.
#[must_use]
pub fn render_error(error: &ConfigError) -> String {
    let lines: Vec<_> = error.lines().iter().map(|line| format!("error: {line}")).collect();
    lines.join("\n")
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is part of ours: reporters that walk the chain would print it twice.
            Self::Read { .. } | Self::Invalid { .. } => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
