//! Finds a compiler that can build for BPF: one with the sources of `core`.
//!
//! The BPF target comes without a compiled `core`, so Cargo must build it (`-Z build-std`), which
//! needs unstable features and the sources that belong to this very compiler.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// A compiler with the sources of its `core`.
#[derive(Debug)]
pub struct Compiler {
    /// Where it was found, for people.
    pub name: String,
    /// `rustc`.
    pub rustc: PathBuf,
    /// The `cargo` of the same release.
    pub cargo: PathBuf,
    /// Major version of its LLVM.
    pub llvm: u32,
}

/// Variables by which the outer Cargo (that of `cargo xtask`) and rustup would steer the inner one.
const STEERING: [&str; 14] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "LD_LIBRARY_PATH",
];

/// A command that does not inherit how the outer Cargo was steered.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for name in STEERING {
        command.env_remove(name);
    }
    command
}

/// The output of `command`, or an error that shows what it complained about.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first capable compiler, newest LLVM that `linker_llvm` still reads.
pub fn find(linker_llvm: u32) -> Result<Compiler> {
    let mut rejected = Vec::new();
    for candidate in candidates() {
        match candidate.examine(linker_llvm) {
            Ok(compiler) => return Ok(compiler),
            Err(reason) => rejected.push(format!("  {}: {reason:#}", candidate.name)),
        }
    }
    bail!(
        "no compiler here can build for BPF:\n{}\n\
         hint: on Debian: apt-get install rustc-web cargo-web rust-web-src\n\
         hint: with rustup: rustup toolchain install nightly --component rust-src",
        rejected.join("\n")
    )
}

/// A place where a compiler may be.
struct Candidate {
    name: &'static str,
    rustc: Result<PathBuf>,
    cargo: Result<PathBuf>,
}

fn candidates() -> Vec<Candidate> {
    let rustup = |tool| {
        let which = output(command("rustup").args(["which", "--toolchain", "nightly", tool]));
        which.map(PathBuf::from)
    };
    vec![
        Candidate { name: "rustup's nightly", rustc: rustup("rustc"), cargo: rustup("cargo") },
        Candidate {
            name: "the distribution's /usr/bin/rustc",
            rustc: Ok("/usr/bin/rustc".into()),
            cargo: Ok("/usr/bin/cargo".into()),
        },
    ]
}

impl Candidate {
    fn examine(&self, linker_llvm: u32) -> Result<Compiler> {
        let path = |found: &Result<PathBuf>| match found {
            Ok(path) if path.exists() => Ok(path.clone()),
            _ => bail!("not installed"),
        };
        let (rustc, cargo) = (path(&self.rustc)?, path(&self.cargo)?);
        let core = sysroot(&rustc)?.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        if !core.exists() {
            bail!("without the sources of core ({} is missing)", core.display());
        }
        let llvm = llvm_version(&rustc)?;
        if llvm > linker_llvm {
            bail!("its LLVM {llvm} is newer than bpf-linker's {linker_llvm}");
        }
        Ok(Compiler { name: self.name.to_owned(), rustc, cargo, llvm })
    }
}

/// The directory that a compiler is installed in.
pub fn sysroot(rustc: &Path) -> Result<PathBuf> {
    output(command(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// Major version of a compiler's LLVM.
fn llvm_version(rustc: &Path) -> Result<u32> {
    let text = output(command(rustc).arg("-vV"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.with_context(|| format!("{} -vV does not name its LLVM", rustc.display()))
}

/// Directories that may hold a `libLLVM` shared library: those of every compiler on the machine.
pub fn library_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let outer = env::var_os("RUSTUP_TOOLCHAIN");
    let mut rustc = command("rustc");
    if let Some(toolchain) = &outer {
        rustc.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    if let Ok(sysroot) = output(rustc.args(["--print", "sysroot"])) {
        directories.push(PathBuf::from(sysroot).join("lib"));
    }
    if let Ok(toolchains) = output(command("rustup").args(["toolchain", "list", "--verbose"])) {
        let paths = toolchains.lines().filter_map(|line| line.split_whitespace().last());
        directories.extend(paths.map(|path| Path::new(path).join("lib")));
    }
    directories.push("/usr/lib/x86_64-linux-gnu".into());
    directories.push("/usr/lib/aarch64-linux-gnu".into());
    directories.push("/usr/lib".into());
    directories
}
