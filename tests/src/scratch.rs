//! A directory for one network: logs, sockets, state, and a bpffs of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::cleanup::{self, Cleanup};

/// A temporary directory, removed with everything in and mounted on it when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _cleanup: Cleanup,
}

impl Scratch {
    /// Makes the directory and mounts a new, empty bpffs at `bpf` in it.
    ///
    /// The mount is in the mount namespace of this process on purpose: pins must outlive a
    /// controller that is killed.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(cleanup::unique_name());
        let uninterrupted = cleanup::uninterrupted();
        let made = make(&path);
        let cleanup = uninterrupted.register({
            let path = path.clone();
            move || remove(&path)
        });
        made?;
        Ok(Self { path, _cleanup: cleanup })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it; nothing is made.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where its bpffs is mounted.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.path.join("bpf")
    }
}

/// Removes the directories of runs that no longer exist.
pub(crate) fn sweep_stale() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(cleanup::is_stale) {
            remove(&entry.path());
        }
    }
}

fn make(path: &Path) -> Result<()> {
    let bpf = path.join("bpf");
    fs::create_dir_all(&bpf).with_context(|| format!("make {}", bpf.display()))?;
    mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount a bpffs at {}", bpf.display()))
}

fn remove(path: &Path) {
    let _ = umount2(&path.join("bpf"), MntFlags::MNT_DETACH);
    let _ = fs::remove_dir_all(path);
}
