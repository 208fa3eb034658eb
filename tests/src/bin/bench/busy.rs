//! How busy the machine was: wall time minus idle time.
//!
//! The kernel charges busy time by sampling, which short bursts of work escape or hit again and
//! again; idle time it measures. So what is not idle is busy.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The unit of /proc/stat, `USER_HZ`: fixed at 100 on every architecture that Linux runs Rust on.
const TICK: Duration = Duration::from_millis(10);

/// A stretch of time that has begun.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    idle: Idle,
}

/// Idle time of all CPUs since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Idle {
    cpus: u32,
    total: Duration,
}

impl Watch {
    pub fn start() -> Result<Self> {
        Ok(Self { began: Instant::now(), idle: read()? })
    }

    /// CPU time that was not idle since the start, all CPUs together.
    pub fn busy(&self) -> Result<Duration> {
        let elapsed = self.began.elapsed();
        let idle = read()?.total.saturating_sub(self.idle.total);
        Ok((elapsed * self.idle.cpus).saturating_sub(idle))
    }
}

fn read() -> Result<Idle> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    parse(&text).context("/proc/stat has no line of all CPUs")
}

/// The columns of a line are user, nice, system, idle and iowait, then others.
fn parse(text: &str) -> Option<Idle> {
    let mut lines = text.lines();
    let columns: Vec<u32> =
        lines.next()?.strip_prefix("cpu ")?.split_whitespace().flat_map(str::parse).collect();
    let cpus = lines.filter(|line| line.starts_with("cpu")).count();
    // A CPU that waits for a disk does nothing else.
    let ticks = columns.get(3)?.checked_add(*columns.get(4)?)?;
    Some(Idle { cpus: cpus.try_into().ok()?, total: TICK * ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 700 30 0 5 0 0 0\n\
                        cpu0 50 0 25 350 15 0 2 0 0 0\n\
                        cpu1 50 0 25 350 15 0 3 0 0 0\n\
                        intr 12345 0 9\nctxt 1\n";

    #[test]
    fn idle_time_is_idle_and_waiting_for_disks_of_all_cpus() {
        assert_eq!(parse(STAT), Some(Idle { cpus: 2, total: Duration::from_millis(7300) }));
    }

    #[test]
    fn a_file_of_another_shape_is_no_idle_time() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("cpu  1 2 3\n"), None);
        assert_eq!(parse("intr 1 2 3 4 5\n"), None);
    }

    #[test]
    fn the_machine_is_never_busier_than_it_has_cpus() {
        let watch = Watch::start().unwrap();
        let busy = watch.busy().unwrap();
        assert!(busy <= watch.began.elapsed() * watch.idle.cpus);
    }
}
