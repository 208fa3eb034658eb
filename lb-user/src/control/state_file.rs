//! The file that a controller leaves its state in.
//!
//! `state.json` is replaced atomically and flushed to the disk, so that commands outlive a power
//! failure. `state.next.json` is written before the tables are changed and removed after that: if
//! the controller is killed meanwhile, the next one knows which numbers the tables may use. The
//! tables are gone after a power failure, so that one needs no flush.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::record::{Record, VERSION};

const STATE: &str = "state.json";
const NEXT: &str = "state.next.json";

/// Where the state is kept.
#[derive(Clone, Debug)]
pub struct StateFile {
    dir: PathBuf,
}

/// Why the state can be neither read nor written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
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
    /// The file says nothing that makes sense.
    #[error("the state file {path} cannot be read: {error}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        error: serde_json::Error,
    },
    /// A newer or older controller wrote it.
    #[error("the state file {path} has version {found}, and this mqlb reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

impl StateError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => {
                "check owner and permissions of state_dir, and that its disk is not full".into()
            }
            Self::Corrupt { path, .. } => format!(
                "restore the file, or start anew: `mqlb detach` (this ends all connections), move \
                 {} away (changes made by command are lost), start again",
                path.display()
            ),
            Self::Version { path, .. } => format!(
                "run the mqlb that wrote it, or start anew: `mqlb detach` (this ends all \
                 connections), move {} away, start again",
                path.display()
            ),
        }
    }
}

impl StateFile {
    /// The state in directory `dir`, which is made if it does not exist.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        if !dir.is_dir() {
            fs::create_dir_all(dir).map_err(failed("make", dir))?;
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(failed("set the permissions of", dir))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The last state written; `None` if there is none.
    pub fn load(&self) -> Result<Option<Record>, StateError> {
        load(&self.dir.join(STATE))
    }

    /// The state that a killed controller was about to reach; if there is none, the last one
    /// written.
    pub fn load_unfinished(&self) -> Result<Option<Record>, StateError> {
        load(&self.dir.join(NEXT))?.map_or_else(|| self.load(), |next| Ok(Some(next)))
    }

    /// Announces the state that the tables are about to reach.
    pub fn announce(&self, record: &Record) -> Result<(), StateError> {
        self.write(NEXT, record, false)
    }

    /// Writes the state that was reached.
    pub fn commit(&self, record: &Record) -> Result<(), StateError> {
        self.write(STATE, record, true)?;
        self.withdraw()
    }

    /// Takes back what was announced.
    pub fn withdraw(&self) -> Result<(), StateError> {
        let path = self.dir.join(NEXT);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, record: &Record, durable: bool) -> Result<(), StateError> {
        let path = self.dir.join(name);
        let new = self.dir.join(format!("{name}.new"));
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| StateError::Corrupt { path: path.clone(), error })?;
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            // The seed in it is not public.
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(&text)?;
            if durable {
                file.sync_all()?;
            }
            fs::rename(&new, &path)?;
            if durable { File::open(&self.dir)?.sync_all() } else { Ok(()) }
        };
        write().map_err(failed("write", &path))
    }
}

fn load(path: &Path) -> Result<Option<Record>, StateError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    let corrupt = |error| StateError::Corrupt { path: path.to_owned(), error };
    // The version first: the rest of another version may not even have this shape.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(corrupt)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if let Some(found) = version.filter(|found| *found != u64::from(VERSION)) {
        return Err(StateError::Version { path: path.to_owned(), found });
    }
    serde_json::from_value(value).map(Some).map_err(corrupt)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io { action, path, error }
}

#[cfg(test)]
mod tests;
