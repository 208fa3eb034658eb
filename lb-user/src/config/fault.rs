//! What is wrong with a value, and what to do about it.

use serde::Serialize;

/// A mistake, without its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{problem}; {hint}")]
pub struct Fault {
    /// What is wrong, with the value.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
}

impl Fault {
    /// The mistake `problem`, mended by `hint`.
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

/// The one of `candidates` that `word` is most likely a misspelling of.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .iter()
        .map(|candidate| (strsim::osa_distance(&lower, candidate), *candidate))
        // A third of the letters may be wrong: `adress` is `address`, `foo` is not `port`.
        .filter(|(distance, candidate)| distance * 3 <= candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The hint for the unknown `word` where `candidates` are known; `otherwise` introduces their list
/// if none of them is near.
pub fn did_you_mean(word: &str, candidates: &[&str], otherwise: &str) -> String {
    match nearest(word, candidates) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("{otherwise} {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_recognised_and_another_word_is_not() {
        let known = ["address", "port", "weight"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("Weight", &known), Some("weight"));
        assert_eq!(nearest("prot", &known), Some("port"));
        assert_eq!(nearest("foo", &known), None);
        assert_eq!(nearest("4", &["3.1.1", "5"]), None);
    }
}
