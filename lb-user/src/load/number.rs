//! A load is a number, in whatever unit, that is zero where there is none.

use thiserror::Error;

/// What brokers answer in place of a load.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ValueError {
    /// The answer is no JSON.
    #[error("the answer is no JSON: {0}")]
    NotJson(String),
    /// JSON without a value there.
    #[error("the answer has nothing at {0:?}")]
    NothingThere(String),
    /// Some text or structure.
    #[error("what is at {0:?} is no number")]
    NoNumber(String),
    /// Text that is no number.
    #[error("{0:?} is no number")]
    NoNumberText(String),
    /// The answer is no text.
    #[error("the answer is no text in UTF-8")]
    NotUtf8,
    /// There is no metric of that name.
    #[error("the answer has no metric {0}")]
    NoMetric(String),
    /// The metric is there, but not with those labels.
    #[error("no sample of the metric is {0}")]
    NoSample(String),
    /// A line that is not in the text format.
    #[error("{0:?} is no sample in the text format of Prometheus")]
    BadSample(String),
    /// A number of what happened since the start is no load.
    #[error("{0} is a counter, which only grows: name a gauge")]
    Counter(String),
    /// Infinite, or not a number.
    #[error("{0} is no load: it is not finite")]
    NotFinite(f64),
    /// Less than nothing.
    #[error("{0} is no load: it is negative")]
    Negative(f64),
}

/// The longest text of a broker that an error repeats, in characters.
const SHOWN: usize = 60;

/// `number`, if a load can be that much.
pub fn load(number: f64) -> Result<f64, ValueError> {
    if !number.is_finite() {
        Err(ValueError::NotFinite(number))
    } else if number < 0.0 {
        Err(ValueError::Negative(number))
    } else {
        // Zero has no sign.
        Ok(number + 0.0)
    }
}

/// The load that `text` is, with white space around it.
pub fn from_text(text: &[u8]) -> Result<f64, ValueError> {
    let text = std::str::from_utf8(text).map_err(|_| ValueError::NotUtf8)?.trim();
    let number = text.parse().map_err(|_| ValueError::NoNumberText(shown(text)))?;
    load(number)
}

/// A load for people: with two places, or none where it is large.
#[must_use]
pub fn short(load: f64) -> String {
    if load >= 1e9 {
        return format!("{load:.2e}");
    }
    let places = if load < 100.0 { 2 } else { 0 };
    format!("{load:.places$}")
}

/// The beginning of `text`: what a broker sends may be long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_a_load_in_the_spellings_of_brokers() {
        for (text, load) in [("0", 0.0), (" 12.50\n", 12.5), ("1e3", 1000.0), ("-0", 0.0)] {
            assert_eq!(from_text(text.as_bytes()), Ok(load), "{text}");
        }
    }

    #[test]
    fn what_is_no_load_is_told_apart() {
        assert_eq!(from_text(b"-1"), Err(ValueError::Negative(-1.0)));
        assert_eq!(from_text(b"inf"), Err(ValueError::NotFinite(f64::INFINITY)));
        assert!(matches!(from_text(b"NaN"), Err(ValueError::NotFinite(_))));
        assert_eq!(from_text(b"\xff"), Err(ValueError::NotUtf8));
        for text in ["", "123 seconds", "0x10", "1,5"] {
            assert_eq!(from_text(text.as_bytes()), Err(ValueError::NoNumberText(text.into())));
        }
    }

    #[test]
    fn an_error_repeats_no_more_than_the_beginning() {
        let error = from_text("ä".repeat(5000).as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("..."), "{error}");
    }
}
