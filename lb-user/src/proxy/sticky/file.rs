//! The file that a table outlives the process in.
//!
//! It is replaced atomically and flushed to the disk. All of it blocks: on a runtime, call it where
//! blocking is allowed, with the bytes of a [`super::Snapshot`].

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{Limits, SnapshotError, Sticky};

/// A file larger than this is not read: 10 million entries of 90 bytes.
const MAX_FILE_BYTES: u64 = 900 << 20;

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StickyFileError {
    /// The operating system refused.
    #[error("{action} {path}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
    /// What was read is no table.
    #[error("{path} holds no sticky sessions: {error}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
}

impl StickyFileError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => {
                "check owner and permissions of state_dir, and that its disk is not full".into()
            }
            Self::Content { path, .. } => format!(
                "restore {} from a backup, or remove it: clients are then led to brokers by the \
                 policy alone, once",
                path.display()
            ),
        }
    }
}

/// The table in the file `path`; an empty one if there is no such file.
pub fn load(path: &Path, limits: Limits, now: u32) -> Result<Sticky, StickyFileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sticky::new(limits)),
        opened => opened.map_err(failed("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed("read", path))?;
    let content = |error| StickyFileError::Content { path: path.to_owned(), error };
    Sticky::from_bytes(&bytes, limits, now).map_err(content)
}

/// Replaces the file `path` by `bytes`.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), StickyFileError> {
    let new = unfinished(path);
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        // Client Identifiers are nobody else's business.
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(failed("write", path))
}

/// Where it is written first. Its name begins with a dot, as that of no table does: a service may be
/// called like another one with any ending.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StickyFileError {
    let path = path.to_owned();
    move |error| StickyFileError::Io { action, path, error }
}
