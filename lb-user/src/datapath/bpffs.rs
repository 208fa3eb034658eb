//! The file system that pins live in.

use std::{
    ffi::CStr,
    io, mem,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::StartError;

/// Where a bpffs is mounted by custom.
const CUSTOMARY: &str = "/sys/fs/bpf";

/// Makes sure that `pin_dir` lies on a bpffs; mounts the customary one if it is below that.
pub(super) fn ensure(pin_dir: &Path) -> Result<(), StartError> {
    if is_on_bpffs(pin_dir)? {
        return Ok(());
    }
    if !pin_dir.starts_with(CUSTOMARY) {
        return Err(StartError::NotBpffs {
            pin_dir: pin_dir.to_owned(),
            mount_point: bpffs_mount_point(pin_dir).to_owned(),
        });
    }
    let target = Path::new(CUSTOMARY);
    mount().map_err(|source| StartError::file("mount a bpffs on", target, source))
}

/// Whether `pin_dir` lies on a bpffs, or would if it were made.
pub fn is_on_bpffs(pin_dir: &Path) -> Result<bool, StartError> {
    is_bpffs(&existing_ancestor(pin_dir))
}

/// Where a bpffs would have to be mounted for `pin_dir` to lie on it.
#[must_use]
pub fn bpffs_mount_point(pin_dir: &Path) -> &Path {
    if pin_dir.starts_with(CUSTOMARY) {
        return Path::new(CUSTOMARY);
    }
    pin_dir.parent().unwrap_or(pin_dir)
}

fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn is_bpffs(path: &Path) -> Result<bool, StartError> {
    let failed = |source| StartError::file("examine the file system of", path, source);
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| failed(io::Error::from(error)))?;
    // SAFETY: a struct of integers, for which zero is a value.
    let mut stat: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: the path ends with a zero, and `stat` is valid for writes of its type.
    if unsafe { libc::statfs(c_path.as_ptr(), &raw mut stat) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(stat.f_type == libc::BPF_FS_MAGIC)
}

/// Needs `CAP_SYS_ADMIN`.
fn mount() -> io::Result<()> {
    const TARGET: &CStr = c"/sys/fs/bpf";
    let (kind, options) = (c"bpf", c"mode=0700");
    // SAFETY: all strings end with a zero and live until the call returns.
    let result = unsafe {
        libc::mount(
            kind.as_ptr(),
            TARGET.as_ptr(),
            kind.as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
            options.as_ptr().cast(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_directory_is_refused_with_a_hint() {
        let error = ensure(Path::new("/tmp/mqlb/pins")).unwrap_err().to_string();
        assert!(error.contains("hint: mount -t bpf bpf /tmp/mqlb"), "{error}");
    }
}
