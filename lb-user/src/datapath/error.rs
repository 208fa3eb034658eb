//! Why the data plane does not start.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::privileges;

/// Why the data plane was not started, taken over or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file, directory or pin could not be read, made or removed.
    #[error("{what} {path}: {source}{}", file_hint(source))]
    File {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// `pin_dir` is not on a bpffs.
    #[error(
        "{pin_dir} does not lie on a bpffs, where maps and programs can be pinned\n\
         hint: mount -t bpf bpf {mount_point}"
    )]
    NotBpffs {
        /// The configured directory.
        pin_dir: PathBuf,
        /// Where a bpffs would help.
        mount_point: PathBuf,
    },
    /// Another controller uses the same `pin_dir`.
    #[error(
        "another mqlb uses {0}\n\
         hint: stop it first (it leaves the fast path forwarding)"
    )]
    InUse(PathBuf),
    /// The directory is not that of a program that unwraps.
    #[error(
        "{0} holds what the balancer has pinned\n\
         hint: give `mqlb decap` a directory of its own with `--pin-dir`"
    )]
    PinsOfBalancer(PathBuf),
    /// The pins were made by a build with other tables.
    #[error(
        "what is pinned in {pin_dir} has layout {found}, this build needs layout {needed}\n\
         hint: start the build that made it, or, at the price of every connection, \
         `{detach} --pin-dir {pin_dir}` and start again"
    )]
    Layout {
        /// The configured directory.
        pin_dir: PathBuf,
        /// Version of the pins.
        found: String,
        /// Version of this build.
        needed: u32,
        /// The command that removes the pins.
        detach: &'static str,
    },
    /// A pinned table has another size than the configuration asks for.
    #[error(
        "table {map} is pinned with {found}, but is to have {needed}\n\
         hint: put the setting back ({setting}), or, at the price of every connection, \
         `mqlb detach` and start again"
    )]
    Shape {
        /// Name of the map.
        map: String,
        /// What is pinned.
        found: String,
        /// What is configured or built in.
        needed: String,
        /// The setting that decides it.
        setting: &'static str,
    },
    /// The XDP program or its maps were not accepted by the kernel.
    #[error("{what}: {reason}")]
    Load {
        /// What was tried.
        what: &'static str,
        /// What the kernel said, with the end of the verifier's log, and a hint.
        reason: String,
    },
    /// The program could not be attached to an interface.
    #[error("attach XDP to {interface}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A table did not work.
    #[error(transparent)]
    Table(#[from] crate::control::datapath::DatapathError),
}

impl StartError {
    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }

    pub(super) fn attach(interface: &str, reason: impl fmt::Display) -> Self {
        Self::Attach { interface: interface.to_owned(), reason: reason.to_string() }
    }
}

/// The line that follows an error that more privileges would mend: it names those that are missing.
pub(super) fn hint(error: &io::Error) -> String {
    hint_for(error, &privileges::effective())
}

fn hint_for(error: &io::Error, held: &BTreeSet<String>) -> String {
    // The verifier answers with EACCES where CAP_PERFMON is missing, and files do for their owners.
    let Some(code @ (libc::EPERM | libc::EACCES)) = error.raw_os_error() else {
        return String::new();
    };
    let needed = privileges::TO_ATTACH;
    let lacking: Vec<&str> = needed.into_iter().filter(|name| !held.contains(*name)).collect();
    if !lacking.is_empty() {
        let mend = privileges::how_to_get(&needed);
        return format!("\nhint: {} missing: {mend}", lacking.join(" and "));
    }
    let text = match code {
        libc::EPERM if !held.contains("CAP_SYS_ADMIN") => {
            "only CAP_SYS_ADMIN may mount a bpffs; for anything else: see docs/privileges.md on \
             what this user must own"
        }
        libc::EPERM => {
            "no capability is missing: a container, a seccomp filter or kernel lockdown forbids it"
        }
        _ => return String::new(),
    };
    format!("\nhint: {text}")
}

/// The line that follows an error about a file.
fn file_hint(error: &io::Error) -> String {
    match hint(error) {
        none if none.is_empty() && error.raw_os_error() == Some(libc::EACCES) => {
            "\nhint: this user may not: docs/privileges.md says what it must own, such as pin_dir"
                .to_owned()
        }
        hint => hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_privileges_names_the_capability_that_is_missing_and_no_other() {
        let mut held = BTreeSet::from(privileges::TO_ATTACH.map(str::to_owned));
        held.remove("CAP_PERFMON");
        for code in [libc::EPERM, libc::EACCES] {
            let hint = hint_for(&io::Error::from_raw_os_error(code), &held);
            assert!(hint.starts_with("\nhint: CAP_PERFMON missing: run mqlb as root"), "{hint}");
        }
        assert_eq!(hint_for(&io::Error::from_raw_os_error(libc::ENOENT), &held), "");
    }

    #[test]
    fn no_capability_is_asked_for_that_is_there() {
        let mut held = BTreeSet::from(privileges::TO_ATTACH.map(str::to_owned));
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        assert!(hint_for(&refused, &held).contains("CAP_SYS_ADMIN may mount"));
        held.insert("CAP_SYS_ADMIN".to_owned());
        assert!(hint_for(&refused, &held).contains("no capability is missing"));
        assert_eq!(hint_for(&io::Error::from_raw_os_error(libc::EACCES), &held), "");
    }
}
