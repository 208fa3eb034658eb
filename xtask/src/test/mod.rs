//! `cargo xtask test`: everything, on a machine that has no more than stable Rust.
//!
//! Unit and property tests run as the user; tests that make network namespaces run as root, by
//! `sudo` if need be, and one at a time, because two cores cannot carry two fleets of clients.

mod binaries;
mod kernels;
mod outcome;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::{binaries::Binary, outcome::Outcome};
use crate::{build_ebpf, packages, privilege::Privilege, sources, workspace};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Install no packages; skip what they are needed for.
    #[arg(long)]
    no_install: bool,
    /// Test the XDP program that is checked in, without building it afresh.
    #[arg(long)]
    checked_in_object: bool,
    /// Also play the golden conversations on the kernels of Debian 12 and 13, in emulated machines;
    /// `--kernels=only` does nothing else.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "also")]
    kernels: Option<OtherKernels>,
    /// Only tests whose name contains this; other kernels play all conversations.
    filter: Option<String>,
}

/// Whether the other tests run too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OtherKernels {
    Also,
    Only,
}

pub fn run(options: &Options) -> Result<()> {
    let root = workspace::root();
    let privilege = Privilege::find();
    let mut total = Outcome::default();

    if !sources::agree(&root)? {
        bail!(
            "the sources of the XDP program and the checked-in object disagree\n\
             hint: cargo xtask build-ebpf, then commit lb-ebpf/object"
        );
    }
    let kernels = match options.kernels {
        Some(_) => kernels::prepare(&root, privilege, !options.no_install)?,
        None => Vec::new(),
    };
    let object = fresh_object(&root, options, privilege, &mut total)?;
    let environment = Environment { object, program: root.join("target/debug/mqlb") };
    // The guest is built with them, and shares what it is made of.
    let binaries = binaries::build_tests(&environment)?;
    if options.kernels != Some(OtherKernels::Only) {
        total.add(run_here(&binaries, &environment, options, privilege)?);
    }
    if !kernels.is_empty() {
        let object = environment.object.clone().unwrap_or_else(|| root.join(sources::OBJECT));
        total.add(kernels::run(&kernels, &root.join("target/debug/guest"), &object)?);
    }
    total.report();
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    Ok(())
}

/// Runs the test programs on this machine and its kernel.
fn run_here(
    binaries: &[Binary],
    environment: &Environment,
    options: &Options,
    privilege: Privilege,
) -> Result<Outcome> {
    let missing = packages::provide(packages::FOR_TESTS, privilege, !options.no_install)?;
    binaries::build_program(environment)?;
    let filter = options.filter.as_deref();
    let mut total = Outcome::default();
    for binary in binaries.iter().filter(|binary| !binary.needs_root()) {
        total.add(binary.run(environment, Privilege::User, filter)?);
    }
    if let Some(reason) = no_root_tests(privilege, &missing) {
        total.skip(format!("tests in network namespaces: {reason}"));
    } else {
        for binary in binaries.iter().filter(|binary| binary.has_root_tests()) {
            total.add(binary.run(environment, privilege, filter)?);
        }
    }
    Ok(total)
}

/// What the tests are told about this run.
#[derive(Debug)]
struct Environment {
    /// The XDP program under test; `None` is the one that is checked in.
    object: Option<PathBuf>,
    /// The controller under test.
    program: PathBuf,
}

impl Environment {
    fn variables(&self) -> Vec<(&'static str, &Path)> {
        let object = self.object.as_deref().map(|object| ("MQLB_XDP_OBJECT", object));
        object.into_iter().chain([("MQLB_BIN", self.program.as_path())]).collect()
    }
}

fn no_root_tests(privilege: Privilege, missing: &[&str]) -> Option<String> {
    if privilege == Privilege::User {
        return Some("they need root, and there is no sudo".to_owned());
    }
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Builds the XDP program from its sources; `None` if it came out as it is checked in, or could
/// not be built here.
fn fresh_object(
    root: &Path,
    options: &Options,
    privilege: Privilege,
    total: &mut Outcome,
) -> Result<Option<PathBuf>> {
    if options.checked_in_object {
        total.skip("the fresh build of the XDP program: --checked-in-object".to_owned());
        return Ok(None);
    }
    if build_ebpf::cannot_build().is_some() {
        packages::provide(packages::FOR_BPF, privilege, !options.no_install)?;
    }
    if let Some(reason) = build_ebpf::cannot_build() {
        total.skip(format!("the fresh build of the XDP program: {reason}"));
        return Ok(None);
    }
    let built = build_ebpf::build(root)?;
    let checked_in = root.join(sources::OBJECT);
    if fs::read(&checked_in).is_ok_and(|checked_in| checked_in == built) {
        println!("the XDP program came out of the build as it is checked in");
        return Ok(None);
    }
    println!("the XDP program differs from the checked-in one, as with another compiler");
    let path = root.join("target/ebpf/fresh.o");
    fs::write(&path, built).with_context(|| format!("write {}", path.display()))?;
    Ok(Some(path))
}
