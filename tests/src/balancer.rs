//! `mqlb` in the balancer's namespace, driven as an operator drives it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::netns::Namespace;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::topology::{Family, MQTT_PORT, Topology};

const READY_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const NAME: &str = "mqlb";

/// A controller, and the data plane it has attached. Dropped, both are gone.
#[derive(Debug)]
pub struct Balancer {
    program: PathBuf,
    namespace: Namespace,
    directory: PathBuf,
    options: Vec<String>,
    process: Option<Process>,
}

impl Balancer {
    /// Starts `mqlb run` with this configuration and waits until it answers.
    pub fn start(topology: &Topology, config: &Value) -> Result<Self> {
        Self::start_program(topology, config, program()?)
    }

    /// The same with a certain build of `mqlb`.
    pub fn start_program(topology: &Topology, config: &Value, program: PathBuf) -> Result<Self> {
        Self::start_in(topology.balancer(), topology.scratch(), config, program)
    }

    /// The same in another namespace and directory, which `config` knows: see [`move_to`].
    pub fn start_in(
        namespace: &Namespace,
        directory: &Scratch,
        config: &Value,
        program: PathBuf,
    ) -> Result<Self> {
        let mut balancer = Self {
            program,
            namespace: namespace.clone(),
            directory: directory.path().to_owned(),
            options: Vec::new(),
            process: None,
        };
        balancer.write_config(config)?;
        balancer.run()?;
        Ok(balancer)
    }

    /// Starts the controller, which must not run, and waits until it answers.
    pub fn run(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("-c").arg(self.config_file()).args(&self.options);
        let process = Process::start(NAME, &mut command, &self.namespace, &self.directory)?;
        let ready = process.wait_ready(READY_LIMIT, || {
            UnixStream::connect(socket(&self.directory)).is_ok()
                && self.ctl(["status"]).is_ok_and(|output| output.status.success())
        });
        self.process = Some(process);
        ready
    }

    /// Ends the controller as `kill -9` does. The data plane goes on.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks the controller to end, and waits until it has. The data plane goes on.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::SIGTERM)?;
        let status = process.wait(STOP_LIMIT)?;
        ensure!(status.success(), "mqlb ended with {status}:\n{}", process.output());
        Ok(())
    }

    /// From the next start on, another build of `mqlb` runs.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// From the next start on, `mqlb run` gets these options.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
    }

    /// The running controller.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Replaces the configuration file. The controller reads it when it is told to, or starts.
    pub fn write_config(&self, config: &Value) -> Result<()> {
        let file = self.config_file();
        // JSON is YAML.
        let text = serde_json::to_string_pretty(config)?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Where the configuration is.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("mqlb.yaml")
    }

    /// Runs a command of the CLI against the controller's socket, whatever comes of it.
    pub fn ctl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--socket").arg(socket(&self.directory)).args(arguments);
        let output = self.namespace.run(|| command.output())?;
        output.with_context(|| format!("run {}", self.program.display()))
    }

    /// Runs a command of the CLI that must succeed, and returns what it printed.
    pub fn run_ctl(&self, command: &str) -> Result<String> {
        let output = self.ctl(command.split_whitespace())?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("mqlb {command}: {}\n{said}{printed}", output.status);
        }
        Ok(printed)
    }

    /// Runs a command of the CLI with `--json`, and returns the answer.
    pub fn json(&self, command: &str) -> Result<Value> {
        let printed = self.run_ctl(&format!("--json {command}"))?;
        serde_json::from_str(&printed).with_context(|| format!("mqlb --json {command}: {printed}"))
    }

    /// Waits until `mqlb status` says what is expected.
    pub fn wait_status(&self, limit: Duration, expected: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.json("status")?;
            if expected(&status) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not as expected after {limit:?}: {status:#}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until every backend of every service takes new connections.
    pub fn wait_active(&self, limit: Duration) -> Result<()> {
        let backends = |status: &Value| -> Vec<Value> {
            let services = status["services"].as_array().into_iter().flatten();
            services.filter_map(|one| one["backends"].as_array()).flatten().cloned().collect()
        };
        self.wait_status(limit, |status| {
            let backends = backends(status);
            !backends.is_empty() && backends.iter().all(|backend| backend["state"] == "active")
        })
    }

    /// Removes the data plane. The controller must not run.
    pub fn detach(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("detach").arg("-c").arg(self.config_file());
        let output = self.namespace.run(|| command.output())??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "mqlb detach: {}\n{said}", output.status);
        Ok(())
    }
}

/// The data plane needs no removal here: its links and maps live by their pins, which go with the
/// network's bpffs.
impl Drop for Balancer {
    fn drop(&mut self) {
        self.process = None;
    }
}

/// A configuration with one service for each family, `mqtt-v4` and `mqtt-v6`, on the VIPs of the
/// network, and all brokers as their backends, quick to notice when one fails.
#[must_use]
pub fn config(topology: &Topology) -> Value {
    let directory = topology.scratch();
    let interfaces: Vec<Value> =
        topology.interfaces().iter().map(|name| json!({ "name": name })).collect();
    json!({
        "interfaces": interfaces,
        "nat": {
            "addresses": Family::ALL.map(|family| topology.balancer_address(family)),
            "ports": "15000-30000",
        },
        "api": { "socket": socket(directory.path()) },
        "state_dir": directory.join("state"),
        "pin_dir": directory.bpffs().join("mqlb"),
        "services": Family::ALL.map(|family| service(topology, family)),
    })
}

/// Lets a balancer with this configuration keep all that it keeps in another directory.
pub fn move_to(config: &mut Value, directory: &Scratch) {
    config["api"]["socket"] = json!(socket(directory.path()));
    config["state_dir"] = json!(directory.join("state"));
    config["pin_dir"] = json!(directory.bpffs().join("mqlb"));
}

/// The name of the service of this family.
#[must_use]
pub fn service_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "mqtt-v4",
        Family::V6 => "mqtt-v6",
    }
}

/// The entry of a broker in a service's list of backends; its name is the broker's.
#[must_use]
pub fn backend(topology: &Topology, index: usize, family: Family) -> Value {
    json!({
        "name": format!("broker-{}", index + 1),
        "address": topology.broker_address(index, family).ip(),
        "port": MQTT_PORT,
        "weight": 100,
    })
}

fn service(topology: &Topology, family: Family) -> Value {
    let backends: Vec<Value> =
        (0..topology.brokers()).map(|index| backend(topology, index, family)).collect();
    json!({
        "name": service_name(family),
        "vip": topology.vip(family).ip(),
        "port": MQTT_PORT,
        "mode": "nat",
        "health": { "type": "tcp", "interval": "500ms", "timeout": "300ms", "rise": 1, "fall": 2 },
        "backends": backends,
    })
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("mqlb.sock")
}

/// The `mqlb` to test: `MQLB_BIN`, or the one of this workspace, built once in this run as this
/// program was built.
pub fn program() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(program) = std::env::var_os("MQLB_BIN") {
        return Ok(program.into());
    }
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a member has a parent")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "lb-user", "--bin", NAME]);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        command.arg("--release");
        "release"
    };
    let status = command.current_dir(workspace).status().context("run cargo to build mqlb")?;
    ensure!(status.success(), "cargo could not build mqlb");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or(workspace.join("target"), PathBuf::from);
    Ok(workspace.join(target).join(profile).join(NAME))
}
