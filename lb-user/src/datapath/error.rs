//! Why the data plane does not start.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why the data plane was not started, taken over or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file, directory or pin could not be read, made or removed.
    #[error("{what} {path}: {source}{}", hint(source))]
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
    /// The pins were made by a build with other tables.
    #[error(
        "what is pinned in {pin_dir} has layout {found}, this build needs layout {needed}\n\
         hint: start the build that made it, or, at the price of every connection, \
         `mqlb detach --pin-dir {pin_dir}` and start again"
    )]
    Layout {
        /// The configured directory.
        pin_dir: PathBuf,
        /// Version of the pins.
        found: String,
        /// Version of this build.
        needed: u32,
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

/// The line that follows an error that more privileges would mend.
pub(super) fn hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::EPERM) {
        "\nhint: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (and CAP_SYS_ADMIN to mount a bpffs)"
    } else {
        ""
    }
}
