//! What the show has found out, against what it should.

use super::line::{Line, Look};

/// What became of each act.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    good: bool,
    act: String,
    text: String,
}

impl Findings {
    /// Adds what was found out in an act.
    pub fn add(&mut self, good: bool, act: &str, text: String) {
        self.0.push(Finding { good, act: act.to_owned(), text });
    }

    /// Whether every expectation was met.
    pub fn all_as_expected(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|finding| finding.good)
    }

    /// For the end of the show.
    pub fn summary(&self) -> Vec<Line> {
        let mut lines = vec![Line::new()];
        let mut act = "";
        for finding in &self.0 {
            let (look, mark) = if finding.good { (Look::Good, "✔") } else { (Look::Bad, "✘") };
            let title = if finding.act == act { "" } else { &finding.act };
            act = &finding.act;
            let line = Line::new().and(Look::Bold, title).to(28).and(look, format!("{mark} "));
            lines.push(line.and(Look::Plain, &finding.text));
        }
        lines.push(Line::new());
        let broken = self.0.iter().filter(|finding| !finding.good).count();
        lines.push(match broken {
            0 => Line::new().and(
                Look::Good,
                "Everything as it should be. Nothing of this is left on your machine.",
            ),
            broken => Line::new().and(
                Look::Bad,
                format!("{broken} not as it should be. Nothing of this is left on your machine."),
            ),
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_expectation_is_enough_and_none_at_all_is_no_success() {
        let mut findings = Findings::default();
        assert!(!findings.all_as_expected());
        findings.add(true, "a", "b".into());
        assert!(findings.all_as_expected());
        findings.add(false, "a", "c".into());
        assert!(!findings.all_as_expected());
        let text: Vec<String> = findings.summary().iter().map(|l| l.render(99, false)).collect();
        assert!(text[1].starts_with('a') && text[2].starts_with(' '), "{text:?}");
        assert!(text[4].starts_with("1 not as"), "{text:?}");
    }
}
