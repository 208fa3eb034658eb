//! As whom a program runs.

use std::{ffi::OsStr, path::Path, process::Command};

use crate::packages;

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// As the user; cannot become root.
    User,
    /// As root, which the user is.
    Root,
    /// As root, by `sudo`.
    Sudo,
}

impl Privilege {
    /// The most that is to be had.
    pub fn find() -> Self {
        if is_root() {
            Self::Root
        } else if packages::installed("sudo") {
            Self::Sudo
        } else {
            Self::User
        }
    }

    /// A command that runs `program` so, with these variables besides the usual ones.
    pub fn command(self, program: impl AsRef<OsStr>, variables: &[(&str, &Path)]) -> Command {
        if self == Self::Sudo {
            // sudo cleans the environment: it is handed over as arguments.
            let mut command = Command::new("sudo");
            command.arg("env");
            for (name, value) in variables {
                let mut assignment = std::ffi::OsString::from(name);
                assignment.push("=");
                assignment.push(value);
                command.arg(assignment);
            }
            command.arg(program);
            return command;
        }
        let mut command = Command::new(program);
        command.envs(variables.iter().copied());
        command
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of a process's own directory is its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
