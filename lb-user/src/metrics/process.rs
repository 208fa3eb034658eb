//! The controller's process, under the names that every Prometheus client library uses.
//!
//! Source: proc(5); <https://prometheus.io/docs/instrumenting/writing_clientlibs/>, process metrics.

use std::{fs, time::Duration};

use super::metric::{Metric, Samples, Value, Values};

/// What the kernel says about a process; what cannot be read is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    cpu_s: Option<f64>,
    start_time_s: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_files: Option<u64>,
    open_files_limit: Option<u64>,
    threads: Option<u64>,
}

pub(super) const METRICS: &[Metric] = &[
    Metric::counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time that the controller has used; the XDP program's is not in it.",
        Values::OfProcess(|process, samples| put(samples, process.cpu_s)),
    ),
    Metric::gauge(
        "process_start_time_seconds",
        &[],
        "Unix time at which the controller was started.",
        Values::OfProcess(|process, samples| put(samples, process.start_time_s)),
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        &[],
        "Memory of the controller that is resident; the tables of source ports are part of it.",
        Values::OfProcess(|process, samples| put(samples, process.resident_bytes)),
    ),
    Metric::gauge(
        "process_virtual_memory_bytes",
        &[],
        "Address space of the controller.",
        Values::OfProcess(|process, samples| put(samples, process.virtual_bytes)),
    ),
    Metric::gauge(
        "process_open_fds",
        &[],
        "Files that the controller has open.",
        Values::OfProcess(|process, samples| put(samples, process.open_files)),
    ),
    Metric::gauge(
        "process_max_fds",
        &[],
        "Files that the controller may have open.",
        Values::OfProcess(|process, samples| put(samples, process.open_files_limit)),
    ),
    Metric::gauge(
        "process_threads",
        &[],
        "Threads of the controller.",
        Values::OfProcess(|process, samples| put(samples, process.threads)),
    ),
];

fn put(samples: &mut Samples<'_>, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        samples.put(&[], value);
    }
}

impl Process {
    /// This process, as it is now.
    #[must_use]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut process = Self::from_stat(&stat);
        if let (Some(booted), Some(started)) = (boot_time(), &mut process.start_time_s) {
            *started += booted;
        } else {
            process.start_time_s = None;
        }
        // The directory itself is opened to be read.
        process.open_files =
            fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64 - 1);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        process.open_files_limit = open_files_limit(&limits);
        process
    }

    /// What /proc/PID/stat says, with the time of the start counted from boot.
    fn from_stat(stat: &str) -> Self {
        // The name may contain anything but ends with the last parenthesis. The field after it is
        // number 3 of proc_pid_stat(5).
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| time_of(ticks).as_secs_f64();
        Self {
            cpu_s: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
            start_time_s: field(22).map(seconds),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page_bytes()),
            threads: field(20),
            ..Self::default()
        }
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files_limit(limits: &str) -> Option<u64> {
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    soft.split_whitespace().next()?.parse().ok()
}

/// The time that so many ticks of the kernel's process accounting last.
fn time_of(ticks: u64) -> Duration {
    // SAFETY: sysconf has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // It never fails for this name; 100 is what Linux answers everywhere.
    let per_second = u64::try_from(per_second).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_look_like_the_end_of_itself() {
        let stat = "7 (a) S 1 (b) R 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 200 8192 2 rest";
        let process = Process::from_stat(stat);
        assert_eq!(process.cpu_s, Some(time_of(200).as_secs_f64()));
        assert_eq!(process.start_time_s, Some(time_of(200).as_secs_f64()));
        assert_eq!(process.threads, Some(9));
        assert_eq!(process.virtual_bytes, Some(8192));
        assert_eq!(process.resident_bytes, Some(2 * page_bytes()));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        assert_eq!(Process::from_stat(""), Process::default());
        assert_eq!(open_files_limit("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn the_start_of_this_process_lies_in_the_past_but_not_far() {
        let process = Process::read();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - process.start_time_s.unwrap();
        // btime is in whole seconds.
        assert!((-1.0..3600.0).contains(&age), "{age}");
        assert!(process.open_files.unwrap() >= 3);
        assert!(process.open_files_limit.unwrap() >= process.open_files.unwrap());
    }
}
