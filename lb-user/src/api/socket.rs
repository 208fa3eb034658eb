//! The Unix socket of the API.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another mqlb is running: it answers at {0}")]
    InUse(PathBuf),
    /// A file that is none of ours.
    #[error("{0} is in the way: it is no socket")]
    NotASocket(PathBuf),
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
}

/// Listens at `path` with permissions `mode`. The directory is made if it does not exist, and a
/// socket that nobody listens at any more is replaced.
pub async fn listen(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |error| SocketError::Io { action, path, error }
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    // Under another name until its permissions are right: nobody gets in before that.
    let new = path.with_extension(format!("{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(failed("listen at", &new))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&new, path))
        .map_err(failed("listen at", path))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/mqlb.sock");
        let first = listen(&path, 0o600).await.unwrap();
        assert!(matches!(listen(&path, 0o600).await, Err(SocketError::InUse(_))));
        drop(first);
        let _second = listen(&path, 0o660).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mqlb.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(listen(&path, 0o600).await, Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
