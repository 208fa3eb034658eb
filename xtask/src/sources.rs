//! The hash of the sources that the checked-in BPF objects were built from.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What the objects are made of, relative to the workspace: directories are taken with all below.
const INPUTS: [&str; 5] =
    ["lb-common/Cargo.toml", "lb-common/src", "lb-ebpf/Cargo.toml", "lb-ebpf/decap", "lb-ebpf/src"];

/// The programs that are checked in as built objects.
pub const PROGRAMS: [&str; 2] = ["mqlb-xdp", "mqlb-decap"];

/// Where the objects and their hashes are kept, relative to the workspace.
const OBJECTS: &str = "lb-ebpf/object";

/// Where the object of `program` is kept.
pub fn object(root: &Path, program: &str) -> PathBuf {
    root.join(OBJECTS).join(format!("{program}.o"))
}

/// The hash file's contents as the sources and the objects are now.
///
/// One line for the sources, one for each object, so that none can change alone.
pub fn hashes(root: &Path) -> Result<String> {
    let mut lines = format!("{}  sources\n", hash_sources(root)?);
    for program in PROGRAMS {
        let path = object(root, program);
        let object = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}  {program}.o", hex(Sha256::digest(object)));
    }
    Ok(lines)
}

fn hash_file(root: &Path) -> PathBuf {
    root.join(OBJECTS).join("SOURCES.sha256")
}

/// Writes the hash file.
pub fn store(root: &Path) -> Result<()> {
    let path = hash_file(root);
    fs::write(&path, hashes(root)?).with_context(|| format!("write {}", path.display()))
}

/// Whether the hash file says what [`hashes`] says.
pub fn agree(root: &Path) -> Result<bool> {
    let path = hash_file(root);
    let stored = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(stored == hashes(root)?)
}

fn hash_sources(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for input in INPUTS {
        collect(&root.join(input), &mut files)?;
    }
    files.sort();
    let mut all = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let contents = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        // Name and contents are hashed apart first: moving a byte from one to the other counts.
        all.update(Sha256::digest(name));
        all.update(Sha256::digest(contents));
    }
    Ok(hex(all.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

fn hex(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_objects_were_built_from_these_sources() {
        assert!(
            agree(&crate::workspace::root()).unwrap(),
            "the sources of the XDP programs and the checked-in objects disagree: \
             run `cargo xtask build-ebpf` and commit lb-ebpf/object"
        );
    }
}
