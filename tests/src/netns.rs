//! Network namespaces: made, entered by threads and by programs, and removed again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cleanup::{self, Cleanup};

/// Where iproute2 keeps the named namespaces.
const NAMESPACES: &str = "/run/netns";

/// A named network namespace. When the last clone is dropped it is removed, with every process
/// that still runs in it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    handle: File,
    _cleanup: Cleanup,
}

impl Namespace {
    /// Makes an empty namespace with its loopback interface up.
    pub fn new() -> Result<Self> {
        let name = cleanup::unique_name();
        let uninterrupted = cleanup::uninterrupted();
        let made = run_ip(&["netns", "add", &name]);
        // Before anything can fail: what there is of it is removed then.
        let cleanup = uninterrupted.register({
            let name = name.clone();
            move || remove(&name)
        });
        made?;
        let handle = File::open(Path::new(NAMESPACES).join(&name))
            .with_context(|| format!("open namespace {name}"))?;
        let namespace = Self(Arc::new(Inner { name, handle, _cleanup: cleanup }));
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name `ip -n` knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The file to enter it by, with `setns` or `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.name())
    }

    /// Moves the calling thread into the namespace, for good. Threads and programs it starts from
    /// then on are in it too.
    pub fn enter(&self) -> Result<()> {
        setns(&self.0.handle, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter namespace {}", self.name()))
    }

    /// Runs `action` in the namespace, on a thread of its own. A panic in it is passed on.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        let result =
            std::thread::scope(|scope| scope.spawn(|| self.enter().map(|()| action())).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a program in the namespace.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(|| command.spawn())?
            .with_context(|| format!("start {}", command.get_program().display()))
    }

    /// Runs lines of iproute2's `ip -batch`, such as `link set eth0 up`.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.feed(Command::new("ip").args(["-n", self.name(), "-batch", "-"]), lines)
    }

    /// Sets kernel settings: `net.ipv4.ip_forward`, value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                // Which namespace's settings /proc/sys/net shows depends on the thread that opens it.
                let file = Path::new("/proc/sys").join(key.replace('.', "/"));
                fs::write(&file, value).with_context(|| format!("set {key} to {value}"))?;
            }
            Ok(())
        })?
    }

    /// Runs a program in the namespace to its end, with `input` on its standard input; an error
    /// carries what it said.
    pub fn feed(&self, command: &mut Command, input: &str) -> Result<()> {
        let program = command.get_program().display().to_string();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        let mut stdin = child.stdin.take().context("its standard input was piped")?;
        stdin.write_all(input.as_bytes()).with_context(|| format!("write to {program}"))?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{program} in {}: {}\n{input}", self.name(), said.trim());
        }
        Ok(())
    }
}

/// Removes the namespaces of runs that no longer exist.
pub(crate) fn sweep_stale() {
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str()
            && cleanup::is_stale(name)
        {
            remove(name);
        }
    }
}

/// The namespaces of this harness that exist on this host, with those of other runs.
#[must_use]
pub fn existing() -> BTreeSet<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(cleanup::PREFIX))
        .collect()
}

/// Every process in it is killed: one that were left would keep the namespace alive, nameless.
fn remove(name: &str) {
    let path = Path::new(NAMESPACES).join(name);
    if let Ok(namespace) = fs::metadata(&path) {
        for pid in processes_in(namespace.dev(), namespace.ino()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(&path);
}

/// The processes, other than this one, whose main thread is in the namespace.
fn processes_in(device: u64, inode: u64) -> Vec<Pid> {
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(namespace) = fs::metadata(entry.path().join("ns/net")) else { continue };
        if Some(pid) != own && namespace.dev() == device && namespace.ino() == inode {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

fn run_ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("run `ip`: install the package iproute2")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
