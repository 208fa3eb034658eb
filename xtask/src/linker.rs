//! Finds or installs bpf-linker, and the LLVM library it loads at run time.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::compiler::{self, command, output};

/// The release of bpf-linker: the last for [`LLVM`] that needs no LLVM installed to be built.
const VERSION: &str = "0.10.3";

/// The LLVM that this release loads; it reads what compilers with this LLVM or an older one write.
pub const LLVM: u32 = 22;

/// A linker and what it needs to run.
#[derive(Debug)]
pub struct Linker {
    /// `bpf-linker`.
    pub program: PathBuf,
    /// A directory that holds nothing but one libLLVM: the linker takes the first it comes across.
    pub llvm: PathBuf,
}

/// The linker on this machine, installed under `target/tools` if there is none.
pub fn find_or_install(target: &Path) -> Result<Linker> {
    let llvm = only_this_llvm(&target.join("ebpf/llvm"))?;
    let tools = target.join("tools");
    let installed = tools.join("bin/bpf-linker");
    let mut places: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("bpf-linker"))
        .collect();
    places.push(installed.clone());
    if let Some(program) = places.into_iter().find(|program| fits(program, &llvm)) {
        return Ok(Linker { program, llvm });
    }
    install(&tools)?;
    if !fits(&installed, &llvm) {
        bail!("{} does not run, although it was just installed", installed.display());
    }
    Ok(Linker { program: installed, llvm })
}

fn fits(program: &Path, llvm: &Path) -> bool {
    let version =
        program.exists().then(|| output(command(program).arg("-V").env("LD_LIBRARY_PATH", llvm)));
    matches!(version, Some(Ok(text)) if text.ends_with(&format!(" {VERSION}")))
}

fn install(tools: &Path) -> Result<()> {
    eprintln!("installing bpf-linker {VERSION} into {}", tools.display());
    let status = command("cargo")
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--root"])
        .arg(tools)
        .status()
        .context("run cargo install")?;
    if !status.success() {
        bail!("cargo install bpf-linker --version {VERSION} --locked: {status}");
    }
    Ok(())
}

/// Makes `directory` hold a link to a libLLVM of the right version, and nothing else.
fn only_this_llvm(directory: &Path) -> Result<PathBuf> {
    let library = compiler::library_directories().iter().find_map(|place| find_llvm(place));
    let Some(library) = library else {
        bail!(
            "bpf-linker {VERSION} needs libLLVM {LLVM}, which no compiler here brings\n\
             hint: rustup toolchain install 1.95 (its sysroot has one), \
             or on Debian: apt-get install rustc-web"
        );
    };
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let link = directory.join(library.file_name().unwrap_or_default());
    symlink(&library, &link).with_context(|| format!("link {}", link.display()))?;
    Ok(directory.to_owned())
}

fn find_llvm(place: &Path) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // A small file of that name is a linker script that names the library.
        let is_library = fs::metadata(path).is_ok_and(|file| file.len() > 1 << 20);
        is_library && is_llvm_name(name)
    };
    fs::read_dir(place).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(is_ours)
}

/// Whether a file of this name is the LLVM we need: `libLLVM-22-rust-1.95.0-stable.so`,
/// `libLLVM.so.22.1`, `libLLVM.so.22.1-rust-1.95.0-stable`.
fn is_llvm_name(name: &str) -> bool {
    ["libLLVM-", "libLLVM.so."].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(&LLVM.to_string()))
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_of_the_right_llvm_count() {
        for name in ["libLLVM-22-rust-1.95.0-stable.so", "libLLVM.so.22.1", "libLLVM-22.so"] {
            assert!(is_llvm_name(name), "{name}");
        }
        for name in ["libLLVM-14.so.1", "libLLVM.so.21.1", "libLLVM.so.220", "libLLVMCore.so.22"] {
            assert!(!is_llvm_name(name), "{name}");
        }
    }
}
