//! Samples in the text format of Prometheus, chosen as its query language does.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.

use std::{borrow::Cow, fmt};

use serde::{Serialize, Serializer};

use super::number::{self, ValueError, shown};

/// Which samples count: those of a metric that have these labels, whatever others they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

/// A text that selects nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// It does not begin with the name of a metric.
    Name,
    /// What follows the name are no labels in braces.
    Labels,
}

impl Selector {
    /// Reads a selector: a name, and in braces labels that must be equal, as in
    /// `queue_messages{queue="mqtt"}`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        let (name, rest) = split_name(text).ok_or(SelectorError::Name)?;
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(Self { name: name.to_owned(), labels: Vec::new() });
        }
        let (labels, rest) = labels(rest).ok_or(SelectorError::Labels)?;
        if !rest.is_empty() {
            return Err(SelectorError::Labels);
        }
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned()));
        Ok(Self { name: name.to_owned(), labels: labels.collect() })
    }

    /// The sum over the samples of the text `answer` that are selected; at least one must be.
    pub fn load(&self, answer: &[u8]) -> Result<f64, ValueError> {
        let answer = std::str::from_utf8(answer).map_err(|_| ValueError::NotUtf8)?;
        let (mut sum, mut selected, mut named) = (0.0, false, false);
        for line in answer.lines().map(str::trim) {
            if self.declares_counter(line) {
                return Err(ValueError::Counter(self.name.clone()));
            }
            let Some(("", rest)) = line.split_once(self.name.as_str()) else { continue };
            if !rest.starts_with(['{', ' ', '\t']) {
                // A longer name.
                continue;
            }
            named = true;
            let (labels, value) =
                sample(rest.trim_start()).ok_or_else(|| ValueError::BadSample(shown(line)))?;
            if self.labels.iter().all(|(name, value)| has(&labels, name, value)) {
                selected = true;
                sum += value;
            }
        }
        match (selected, named) {
            (true, _) => number::load(sum),
            (false, true) => Err(ValueError::NoSample(self.to_string())),
            (false, false) => Err(ValueError::NoMetric(self.name.clone())),
        }
    }

    fn declares_counter(&self, line: &str) -> bool {
        let Some(comment) = line.strip_prefix('#') else { return false };
        let mut words = comment.split_ascii_whitespace();
        words.next() == Some("TYPE")
            && words.next() == Some(self.name.as_str())
            && words.next() == Some("counter")
    }
}

type Label<'a> = (&'a str, Cow<'a, str>);

/// A label that is empty is the same as one that is not there.
fn has(labels: &[Label<'_>], name: &str, value: &str) -> bool {
    let found = labels.iter().find(|(one, _)| *one == name);
    found.map_or("", |(_, value)| value) == value
}

/// Labels and value, from what follows the name of a metric; a time stamp may follow the value.
fn sample(text: &str) -> Option<(Vec<Label<'_>>, f64)> {
    let (labels, rest) = if text.starts_with('{') { labels(text)? } else { (Vec::new(), text) };
    Some((labels, rest.split_ascii_whitespace().next()?.parse().ok()?))
}

/// The name at the front, and what follows it; it may have colons, unlike that of a label.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ':'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

/// The labels in braces at the front, and what follows them.
fn labels(text: &str) -> Option<(Vec<Label<'_>>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text.strip_prefix('{')?.trim_start();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, behind) = split_name(rest).filter(|(name, _)| !name.contains(':'))?;
        let behind = behind.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
        let (value, behind) = quoted(behind)?;
        labels.push((name, value));
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// The text up to the closing quote, and what follows it. A backslash, a quote and a line feed are
/// written with a backslash before them.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((text[..end].into(), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value.into(), &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let mut before = "{";
        for (name, value) in &self.labels {
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(f, "{before}{name}=\"{value}\"")?;
            before = ",";
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
