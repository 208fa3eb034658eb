//! The hash of the sources that the checked-in BPF object was built from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What the object is made of, relative to the workspace: directories are taken with all below.
const INPUTS: [&str; 4] =
    ["lb-common/Cargo.toml", "lb-common/src", "lb-ebpf/Cargo.toml", "lb-ebpf/src"];

/// Where the object and its hash are kept, relative to the workspace.
pub const OBJECT: &str = "lb-ebpf/object/mqlb-xdp.o";
const HASHES: &str = "lb-ebpf/object/SOURCES.sha256";

/// The hash file's contents as the sources and the object are now.
///
/// One line for the sources, one for the object, so that neither can change alone.
pub fn hashes(root: &Path) -> Result<String> {
    let object = root.join(OBJECT);
    let object = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    Ok(format!("{}  sources\n{}  mqlb-xdp.o\n", hash_sources(root)?, hex(Sha256::digest(object))))
}

/// Writes the hash file.
pub fn store(root: &Path) -> Result<()> {
    let path = root.join(HASHES);
    fs::write(&path, hashes(root)?).with_context(|| format!("write {}", path.display()))
}

/// Whether the hash file says what [`hashes`] says.
pub fn agree(root: &Path) -> Result<bool> {
    let path = root.join(HASHES);
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
    use std::fmt::Write;
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
    fn the_checked_in_object_was_built_from_these_sources() {
        assert!(
            agree(&crate::workspace::root()).unwrap(),
            "the XDP program's sources and the checked-in object disagree: \
             run `cargo xtask build-ebpf` and commit lb-ebpf/object"
        );
    }
}
