//! `cargo xtask build-ebpf`: the XDP programs, from their sources to the objects that are checked in.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    compiler::{self, Compiler, command, output},
    elf,
    linker::{self, Linker},
    sources, workspace,
};

/// Options of `build-ebpf`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Build nothing; fail if the checked-in objects were not built from the sources as they are.
    #[arg(long, conflicts_with_all = ["output", "stats"])]
    check: bool,
    /// Write one object, of the balancer, to this file and leave the checked-in ones as they are.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the number of instructions of every function.
    #[arg(long)]
    stats: bool,
    /// Build another program instead: that of the brokers' hosts, or the one that replays frames in
    /// the packet benchmark.
    #[arg(long, requires = "output", value_name = "NAME", value_parser = ["mqlb-decap", "replay"])]
    program: Option<String>,
}

/// The built-in BPF target, and ours, derived from it (see [`write_target`]).
const BUILT_IN_TARGET: &str = "bpfel-unknown-none";
const TARGET: &str = "bpfel-mqlb";

pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    if options.check {
        return check(&root);
    }
    if let Some(path) = &options.output {
        let program = options.program.as_deref().unwrap_or(sources::PROGRAMS[0]);
        let object = build(&root, program)?;
        fs::write(path, &object).with_context(|| format!("write {}", path.display()))?;
        return print_stats(options, &object);
    }
    for program in sources::PROGRAMS {
        let object = build(&root, program)?;
        let path = sources::object(&root, program);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, &object).with_context(|| format!("write {}", path.display()))?;
        print_stats(options, &object)?;
    }
    sources::store(&root)
}

fn print_stats(options: &Options, object: &[u8]) -> Result<()> {
    if options.stats {
        for function in elf::functions(object)? {
            println!("{:>6}  {}/{}", function.instructions, function.section, function.name);
        }
    }
    Ok(())
}

fn check(root: &Path) -> Result<()> {
    if sources::agree(root)? {
        return Ok(());
    }
    bail!(
        "the sources of the XDP programs and the checked-in objects disagree\n\
         hint: cargo xtask build-ebpf, then commit lb-ebpf/object"
    )
}

/// Why this machine has no compiler for the XDP program; `None` if it has one.
pub fn cannot_build() -> Option<String> {
    compiler::find(linker::LLVM).err().map(|error| error.to_string())
}

/// The program that feeds the balancer with frames in `cargo xtask bench`.
pub const REPLAY: &str = "replay";

/// Builds the object of `program`, without debug information.
pub fn build(root: &Path, program: &str) -> Result<Vec<u8>> {
    elf::strip_debug(&build_program(root, program)?)
}

fn build_program(root: &Path, name: &str) -> Result<Vec<u8>> {
    let target_dir = root.join("target");
    let linker = linker::find_or_install(&target_dir)?;
    let compiler = compiler::find(linker::LLVM)?;
    eprintln!("building {name} with {} (LLVM {})", compiler.name, compiler.llvm);
    let target_dir = target_dir.join("ebpf");
    let target = write_target(&compiler, &target_dir)?;
    compile(root, name, &compiler, &linker, &target, &target_dir)?;
    let built = target_dir.join(TARGET).join("release").join(name);
    fs::read(&built).with_context(|| format!("read {}", built.display()))
}

/// Writes the specification of our target: the compiler's own BPF target, which offers only
/// 64-bit atomics without compare-and-swap, with what `-C target-cpu=v3` has beyond that
/// (Linux 5.12: 32-bit atomics, compare-and-swap).
fn write_target(compiler: &Compiler, directory: &Path) -> Result<PathBuf> {
    let printed = output(
        command(&compiler.rustc)
            .args(["-Zunstable-options", "--print=target-spec-json", "--target", BUILT_IN_TARGET])
            .env("RUSTC_BOOTSTRAP", "1"),
    )?;
    let mut spec: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&printed).context("read the compiler's BPF target")?;
    spec.insert("min-atomic-width".into(), 32.into());
    spec.insert("atomic-cas".into(), true.into());
    // A single-threaded target may compile atomics to plain loads and stores.
    spec.insert("singlethread".into(), false.into());
    spec.remove("is-builtin");
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let path = directory.join(format!("{TARGET}.json"));
    let text = serde_json::to_string_pretty(&spec)?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn compile(
    root: &Path,
    name: &str,
    compiler: &Compiler,
    linker: &Linker,
    target: &Path,
    target_dir: &Path,
) -> Result<()> {
    let status = command(&compiler.cargo)
        .current_dir(root)
        .args(["build", "--release", "--package", "lb-ebpf", "--bin", name])
        .args(["--no-default-features", "--features", "bpf"])
        .args(["-Zbuild-std=core", "-Zjson-target-spec"])
        .args(["--config", "profile.release.panic='abort'"])
        .args(["--config", "profile.release.lto='fat'"])
        .args(["--config", "profile.release.codegen-units=1"])
        .args(["--config", "profile.release.debug=2"])
        .arg("--target")
        .arg(target)
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTC", &compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(root, compiler, linker)?.join("\x1f"))
        .env("LD_LIBRARY_PATH", &linker.llvm)
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("{name} does not build: {status}");
    }
    Ok(())
}

fn rust_flags(root: &Path, compiler: &Compiler, linker: &Linker) -> Result<Vec<String>> {
    let mut flags = vec![
        // aya-ebpf chooses the layout of kernel structures by the host's architecture.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Ctarget-cpu=v3".to_owned(),
        // Headers are copied out of the packet: without this (LLVM 22) one byte at a time. The
        // verifier takes misaligned packet access on every machine that has it in hardware.
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
        // It does not take it on the stack: LLVM must not merge stores to fields there.
        "-Clink-arg=--llvm-args=-combiner-store-merging=false".to_owned(),
        // bpf-linker makes BTF from the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.program.display()),
    ];
    // The object is the same wherever it is built, and names nobody's directories.
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    if let Some(cargo_home) = cargo_home {
        let registry = cargo_home.join("registry/src");
        flags.push(format!("--remap-path-prefix={}=registry", registry.display()));
        for index in fs::read_dir(&registry).into_iter().flatten().flatten() {
            flags.push(format!("--remap-path-prefix={}=registry", index.path().display()));
        }
    }
    let sysroot = compiler::sysroot(&compiler.rustc)?;
    flags.push(format!("--remap-path-prefix={}=sysroot", sysroot.display()));
    flags.push(format!("--remap-path-prefix={}=.", root.display()));
    Ok(flags)
}
