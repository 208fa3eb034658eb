//! What came of the tests, added up from what the test programs print.

const RESULT: &str = "test result: ";

/// What came of some tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: u64,
    pub failed: u64,
    failures: Vec<String>,
    skipped: Vec<String>,
}

impl Outcome {
    /// Whether it is the last line that a test program prints.
    pub fn is_result(line: &str) -> bool {
        line.starts_with(RESULT)
    }

    /// Reads a line that a test program printed.
    pub fn read(&mut self, program: &str, line: &str) {
        if let Some(counts) = line.strip_prefix(RESULT) {
            self.passed += number_before(counts, " passed");
            self.failed += number_before(counts, " failed");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.failures.push(format!("{program}: {name}"));
        }
    }

    /// Notes a test program that ended otherwise than by reporting.
    pub fn crashed(&mut self, program: &str, how: &str) {
        self.failed += 1;
        self.failures.push(format!("{program}: {how}"));
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.skipped.extend(other.skipped);
    }

    /// Notes what was not done, and why.
    pub fn skip(&mut self, what: String) {
        self.skipped.push(what);
    }

    pub fn report(&self) {
        println!();
        for failure in &self.failures {
            println!("FAILED   {failure}");
        }
        for skipped in &self.skipped {
            println!("skipped  {skipped}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

fn number_before(text: &str, unit: &str) -> u64 {
    let before = text.split(unit).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_names_are_read_from_the_report_of_a_test_program() {
        let mut outcome = Outcome::default();
        for line in [
            "running 3 tests",
            "test ring::tests::a_ring_is_full ... ok",
            "test ring::tests::a_ring_is_even ... FAILED",
            "test datapath::takes_over ... ignored, needs root",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; \
             finished in 0.01s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            outcome.read("lb-user", line);
        }
        assert_eq!((outcome.passed, outcome.failed), (13, 1));
        assert_eq!(outcome.failures, ["lb-user: ring::tests::a_ring_is_even"]);
    }
}
