//! What the host is told, in the form of Rust's test programs.

use std::{io::Write, time::Instant};

use anyhow::{Context as _, Result};

/// The verifier tells its whole way through the program; the reason of its refusal is at the end.
const LONGEST_REASON_LINES: usize = 200;

/// A report that is being written.
#[derive(Debug)]
pub struct Report<W> {
    out: W,
    started: Instant,
    passed: u32,
    failed: u32,
}

impl<W: Write> Report<W> {
    pub fn new(out: W) -> Self {
        Self { out, started: Instant::now(), passed: 0, failed: 0 }
    }

    /// Writes a line of its own.
    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").context("write the report")
    }

    /// Runs a test and reports it; returns whether it passed.
    pub fn test<T>(&mut self, name: &str, test: impl FnOnce() -> Result<T>) -> Result<bool> {
        let Err(error) = test() else {
            self.passed += 1;
            self.say(&format!("test {name} ... ok"))?;
            return Ok(true);
        };
        self.failed += 1;
        self.say(&format!("test {name} ... FAILED"))?;
        let reason: Vec<String> = error.chain().map(ToString::to_string).collect();
        let reason = reason.join("\n");
        for line in told(&reason) {
            self.say(&format!("    {line}"))?;
        }
        Ok(false)
    }

    /// Says that this was all. A report without that line is one of a machine that broke down.
    pub fn end(&mut self) -> Result<()> {
        let Self { passed, failed, .. } = *self;
        let result = if failed == 0 { "ok" } else { "FAILED" };
        let seconds = self.started.elapsed().as_secs_f64();
        self.say(&format!(
            "test result: {result}. {passed} passed; {failed} failed; finished in {seconds:.1}s"
        ))
    }
}

/// The first line, which names what failed, and the end.
fn told(reason: &str) -> Vec<&str> {
    let lines: Vec<&str> = reason.lines().collect();
    let Some((first, others)) = lines.split_first() else { return lines };
    let cut = others.len().saturating_sub(LONGEST_REASON_LINES);
    if cut == 0 { lines } else { [&[*first, "[...]"], &others[cut..]].concat() }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_report_reads_like_that_of_a_test_program() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        assert!(report.test("one", || Ok(1)).unwrap());
        assert!(
            !report
                .test("two", || -> Result<()> { Err(anyhow!("wrong").context("step 3")) })
                .unwrap()
        );
        report.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "test one ... ok\ntest two ... FAILED\n    step 3\n    wrong\n\
                 test result: FAILED. 1 passed; 1 failed; finished in "
            ),
            "{text}"
        );
    }

    #[test]
    fn of_a_long_reason_the_first_line_and_the_end_are_told() {
        let numbers: Vec<String> = (0..1_000).map(|line| line.to_string()).collect();
        let reason = numbers.join("\n");
        let lines = told(&reason);
        assert_eq!(lines.len(), LONGEST_REASON_LINES + 2);
        assert_eq!((lines[0], lines[1], lines[2]), ("0", "[...]", "800"));
        assert_eq!(lines.last(), Some(&"999"));
    }
}
