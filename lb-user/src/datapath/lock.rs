//! One controller at a time.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::StartError;

/// Held as long as a controller uses a directory of pins; the kernel releases it with the process.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: File,
}

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::file("lock", directory, source);
        let file = File::open(directory).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _directory: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
