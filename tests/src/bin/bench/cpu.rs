//! The CPU time of a process, as its scheduler measures it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time that these processes have had, in user mode and in the kernel. What the kernel receives
/// on behalf of others while one of them runs is in it.
pub fn time_of(processes: &[u32]) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for pid in processes {
        let directory = format!("/proc/{pid}/task");
        let threads = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
        for thread in threads {
            // A thread that has ended since is not counted any more.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            total += parse(&text).with_context(|| format!("a schedstat in {directory}: {text}"))?;
        }
    }
    Ok(total)
}

/// The first column of a `schedstat` is nanoseconds on a CPU.
pub fn parse(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_cpu_comes_first() {
        assert_eq!(parse("1500000 20 3\n"), Some(Duration::from_micros(1500)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("x 1 2"), None);
    }

    #[test]
    fn who_works_uses_more_of_it() {
        let this = [std::process::id()];
        let before = time_of(&this).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(time_of(&this).unwrap() > before);
    }
}
