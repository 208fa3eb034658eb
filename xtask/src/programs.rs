//! Programs of the workspace that a task builds and then becomes, as root.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{privilege::Privilege, workspace};

/// A program of the package `lb-tests` that needs `mqlb` beside it.
#[derive(Debug)]
pub struct Program {
    /// Its name, which is that of its task.
    pub name: &'static str,
    /// The features it needs.
    pub features: &'static [&'static str],
}

/// Programs that were built, all in one directory.
#[derive(Debug)]
pub struct Built {
    directory: PathBuf,
    name: &'static str,
}

impl Program {
    /// Builds it and `mqlb`, with optimisation if `release`.
    pub fn build(&self, release: bool) -> Result<Built> {
        ensure!(cfg!(target_os = "linux"), "mqlb runs on Linux");
        let root = workspace::root();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(&cargo);
        command.current_dir(&root).args(["build", "--package", "lb-user", "--bin", "mqlb"]);
        command.args(["--package", "lb-tests", "--bin", self.name]);
        for feature in self.features {
            command.args(["--features", feature]);
        }
        if release {
            command.arg("--release");
        }
        let status = command.status().context("run cargo")?;
        ensure!(status.success(), "cargo could not build the {}", self.name);
        let profile = if release { "release" } else { "debug" };
        let directory = target_directory(&root, &cargo)?.join(profile);
        Ok(Built { directory, name: self.name })
    }
}

impl Built {
    /// Becomes the program, as root; returns only if that fails.
    pub fn become_it(&self, arguments: &[&str]) -> Result<()> {
        let privilege = Privilege::find();
        match privilege {
            Privilege::User => {
                bail!("there is no sudo here: run `cargo xtask {}` as root", self.name)
            }
            Privilege::Root => {}
            Privilege::Sudo => println!(
                "`{}` makes network namespaces and attaches XDP programs: it needs root.",
                self.name
            ),
        }
        let mut command = privilege.command(self.directory.join(self.name), &[]);
        command.arg("--mqlb").arg(self.directory.join("mqlb")).args(arguments);
        Err(command.exec()).with_context(|| format!("start the {}", self.name))
    }
}

/// Where cargo puts what it builds: `target`, unless somebody has told it otherwise.
fn target_directory(root: &Path, cargo: &std::ffi::OsStr) -> Result<PathBuf> {
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target directory")?.into())
}
