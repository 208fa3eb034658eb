//! What a run of the harness leaves on this host, as seen from outside: for tests that prove that
//! it leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cleanup::PREFIX;

/// A killed process needs a moment to be gone.
const LIMIT: Duration = Duration::from_secs(5);

/// Namespaces, directories and mounts of a run, and processes it has started.
#[derive(Debug)]
pub struct Traces {
    name_prefix: String,
    pids: BTreeSet<u32>,
}

impl Traces {
    /// Those of the program with process number `run`, and these processes.
    #[must_use]
    pub fn of(run: u32, pids: impl IntoIterator<Item = u32>) -> Self {
        Self { name_prefix: format!("{PREFIX}{run}-"), pids: pids.into_iter().collect() }
    }

    /// Notes the processes that the program `parent` has started and that run now.
    pub fn note_children(&mut self, parent: u32) {
        self.pids.extend(children(parent));
    }

    /// How many processes are noted.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.pids.len()
    }

    /// What there is now.
    #[must_use]
    pub fn left(&self) -> Vec<PathBuf> {
        let named = |directory: &Path| {
            let entries = directory.read_dir().into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let mut left = named(Path::new("/run/netns"));
        left.extend(named(&std::env::temp_dir()));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        left.extend(mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from));
        left.retain(|path| path.to_string_lossy().contains(&self.name_prefix));
        let processes = self.pids.iter().map(|pid| Path::new("/proc").join(pid.to_string()));
        left.extend(processes.filter(|process| process.exists()));
        left
    }

    /// # Panics
    /// If anything is left, and does not go within a moment.
    pub fn assert_gone(&self) {
        let deadline = Instant::now() + LIMIT;
        while !self.left().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(self.left().is_empty(), "left: {:?}", self.left());
    }
}

fn children(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// `None` if it has ended meanwhile.
fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
