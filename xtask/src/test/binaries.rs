//! The test programs of the workspace: built by Cargo, run by us.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Environment, Outcome};
use crate::{privilege::Privilege, workspace};

/// A test program.
#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    /// The directory of its package, where it runs.
    package: PathBuf,
    /// Package and target, for people.
    name: String,
}

/// The package whose tests make network namespaces, all of them.
const NAMESPACES: &str = "tests";
/// The package some of whose tests do; these are marked as ignored.
const CONTROLLER: &str = "lb-user";

/// Builds `mqlb`, which the end-to-end tests run.
pub fn build_program(environment: &Environment) -> Result<()> {
    let status = cargo(environment)
        .args(["build", "--package", "lb-user", "--bin", "mqlb"])
        .status()
        .context("run cargo build")?;
    if status.success() { Ok(()) } else { bail!("mqlb does not build") }
}

/// Builds every test program of the workspace.
pub fn build_tests(environment: &Environment) -> Result<Vec<Binary>> {
    let output = cargo(environment)
        .args(["test", "--workspace", "--features", "lb-tests/embedded-broker"])
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo test --no-run")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8(output.stdout).context("read cargo's messages")?;
    Ok(messages.lines().filter_map(read_message).collect())
}

fn cargo(environment: &Environment) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).envs(environment.variables());
    cargo
}

/// The test program that a message of Cargo names, if it names one.
fn read_message(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let path = message["executable"].as_str().filter(|_| is_test)?.into();
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let directory = package.file_name()?.to_string_lossy();
    let name = format!("{directory}/{}", message["target"]["name"].as_str()?);
    Some(Binary { path, package, name })
}

impl Binary {
    /// Whether it can do nothing without root.
    pub fn needs_root(&self) -> bool {
        self.package.ends_with(NAMESPACES)
    }

    /// Whether it has tests that need root.
    pub fn has_root_tests(&self) -> bool {
        self.needs_root() || self.package.ends_with(CONTROLLER)
    }

    /// Runs it: with `Privilege::User` the tests that need no root, else those that do.
    pub fn run(
        &self,
        environment: &Environment,
        privilege: Privilege,
        filter: Option<&str>,
    ) -> Result<Outcome> {
        println!("\n== {}", self.name);
        let mut variables = environment.variables();
        variables.push(("CARGO_MANIFEST_DIR", &self.package));
        let mut command = privilege.command(&self.path, &variables);
        command.current_dir(&self.package).args(filter);
        if privilege != Privilege::User {
            let which = if self.needs_root() { "--include-ignored" } else { "--ignored" };
            command.args(["--test-threads=1", which]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", self.path.display()))?;
        let mut outcome = Outcome::default();
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines() {
                let line = line.context("read the output of the tests")?;
                println!("{line}");
                outcome.read(&self.name, &line);
            }
        }
        let status = child.wait().context("wait for the tests")?;
        if !status.success() && outcome.failed == 0 {
            outcome.crashed(&self.name, &format!("ended with {status}"));
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_found_among_the_messages_of_cargo() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/lb-user/Cargo.toml",
                    "target":{{"name":"health"}},"profile":{{"test":{test}}},
                    "executable":"/w/target/debug/deps/health-1"}}"#
            )
            .replace('\n', " ")
        };
        let binary = read_message(&message(true)).unwrap();
        assert_eq!(binary.name, "lb-user/health");
        assert!(binary.has_root_tests() && !binary.needs_root());
        assert!(read_message(&message(false)).is_none());
        assert!(read_message(r#"{"reason":"build-finished","success":true}"#).is_none());
    }
}
