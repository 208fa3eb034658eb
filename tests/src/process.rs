//! A program in a namespace: its output kept in a file, and killed when its guard is dropped.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cleanup::{self, Cleanup};
use crate::netns::Namespace;

/// How many of the last lines of its output a failing test shows.
const SHOWN_LINES: usize = 60;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Arc<Mutex<Child>>,
    _cleanup: Cleanup,
}

impl Process {
    /// Starts `command` in `namespace`; what it writes is appended to `<name>.log` in `directory`.
    ///
    /// It gets a process group of its own: Ctrl-C reaches the harness alone, which then ends its
    /// programs in the right order.
    pub fn start(
        name: &str,
        command: &mut Command,
        namespace: &Namespace,
        directory: &Path,
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let uninterrupted = cleanup::uninterrupted();
        let child = Arc::new(Mutex::new(namespace.spawn(command)?));
        let cleanup = uninterrupted.register({
            let child = Arc::clone(&child);
            move || kill_and_wait(&child)
        });
        Ok(Self { name: name.to_owned(), log, child, _cleanup: cleanup })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = lock(&self.child);
        // Not waited for yet, its number can't have been given to another process.
        if child.try_wait()?.is_none() {
            kill(Pid::from_raw(child.id().cast_signed()), signal)
                .with_context(|| format!("send {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Ends it at once, as a crash or `kill -9` does.
    pub fn kill(&self) {
        kill_and_wait(&self.child);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `ready` says so; an error if the program ends or the time runs out first.
    pub fn wait_ready(&self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            if let Some(status) = self.ended()? {
                let code = status.code().or(status.signal()).unwrap_or_default();
                bail!("{} ended with {code} before it was ready:\n{}", self.name, self.output());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {limit:?}:\n{}", self.name, self.output());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            #[expect(clippy::print_stderr, reason = "part of the report of the test that fails")]
            {
                eprintln!("--- the last lines of {} ---\n{}\n---", self.name, shown.join("\n"));
            }
        }
    }
}

fn kill_and_wait(child: &Mutex<Child>) {
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
