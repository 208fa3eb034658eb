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
            "the sources of the XDP programs and the checked-in objects disagree\n\
             hint: cargo xtask build-ebpf, then commit lb-ebpf/object"
        );
    }
    let kernels = match options.kernels {
        Some(_) => kernels::prepare(&root, privilege, !options.no_install)?,
        None => Vec::new(),
    };
    let objects = fresh_objects(&root, options, privilege, &mut total)?;
    let environment = Environment { objects, program: root.join("target/debug/mqlb") };
    // The guest is built with them, and shares what it is made of.
    let binaries = binaries::build_tests(&environment)?;
    if options.kernels != Some(OtherKernels::Only) {
        total.add(run_here(&binaries, &environment, options, privilege)?);
    }
    if !kernels.is_empty() {
        let objects = environment.all_objects(&root);
        total.add(kernels::run(&kernels, &root.join("target/debug/guest"), &objects)?);
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

/// The variables that name other objects than the checked-in ones, in the order of the programs.
const OBJECT_VARIABLES: [&str; sources::PROGRAMS.len()] = ["MQLB_XDP_OBJECT", "MQLB_DECAP_OBJECT"];

/// What the tests are told about this run.
#[derive(Debug)]
struct Environment {
    /// The XDP programs under test, by the variables that name them; without an entry it is the one
    /// that is checked in.
    objects: Vec<(&'static str, PathBuf)>,
    /// The controller under test.
    program: PathBuf,
}

impl Environment {
    /// All XDP programs under test.
    fn all_objects(&self, root: &Path) -> Vec<kernels::Object> {
        let programs = sources::PROGRAMS.into_iter().zip(OBJECT_VARIABLES);
        let object = |(program, variable)| {
            let fresh = self.objects.iter().find(|(of, _)| *of == variable);
            let path = fresh.map_or_else(|| sources::object(root, program), |(_, it)| it.clone());
            kernels::Object { variable, path }
        };
        programs.map(object).collect()
    }

    fn variables(&self) -> Vec<(&'static str, &Path)> {
        let objects = self.objects.iter().map(|(variable, object)| (*variable, object.as_path()));
        objects.chain([("MQLB_BIN", self.program.as_path())]).collect()
    }
}

fn no_root_tests(privilege: Privilege, missing: &[&str]) -> Option<String> {
    if privilege == Privilege::User {
        return Some("they need root, and there is no sudo".to_owned());
    }
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// Builds the XDP programs from their sources; those that came out as they are checked in, or could
/// not be built here, are left out.
fn fresh_objects(
    root: &Path,
    options: &Options,
    privilege: Privilege,
    total: &mut Outcome,
) -> Result<Vec<(&'static str, PathBuf)>> {
    if options.checked_in_object {
        total.skip("the fresh build of the XDP programs: --checked-in-object".to_owned());
        return Ok(Vec::new());
    }
    if build_ebpf::cannot_build().is_some() {
        packages::provide(packages::FOR_BPF, privilege, !options.no_install)?;
    }
    if let Some(reason) = build_ebpf::cannot_build() {
        total.skip(format!("the fresh build of the XDP programs: {reason}"));
        return Ok(Vec::new());
    }
    let mut fresh = Vec::new();
    for (program, variable) in sources::PROGRAMS.into_iter().zip(OBJECT_VARIABLES) {
        let built = build_ebpf::build(root, program)?;
        if fs::read(sources::object(root, program)).is_ok_and(|checked_in| checked_in == built) {
            println!("{program} came out of the build as it is checked in");
            continue;
        }
        println!("{program} differs from the checked-in one, as with another compiler");
        let path = root.join(format!("target/ebpf/fresh-{program}.o"));
        fs::write(&path, built).with_context(|| format!("write {}", path.display()))?;
        fresh.push((variable, path));
    }
    Ok(fresh)
}
