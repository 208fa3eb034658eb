//! The lines of the text format.

use std::fmt::Write as _;

use super::metric::{Kind, Value};

/// Appends the two lines that introduce a metric.
pub(super) fn head(text: &mut String, name: &str, kind: Kind, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {}", help.replace('\\', r"\\").replace('\n', r"\n"));
    let _ = writeln!(text, "# TYPE {name} {}", kind.name());
}

/// Appends one value of a metric.
pub(super) fn sample<'a>(
    text: &mut String,
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: Value,
) {
    text.push_str(name);
    let mut open = '{';
    for (label, value) in labels {
        let _ = write!(text, "{open}{label}=\"");
        escape(text, value);
        text.push('"');
        open = ',';
    }
    if open == ',' {
        text.push('}');
    }
    let _ = match value {
        Value::Integer(value) => writeln!(text, " {value}"),
        Value::Float(value) => writeln!(text, " {value}"),
    };
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str(r#"\""#),
            '\n' => text.push_str(r"\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(labels: &[(&str, &str)], value: impl Into<Value>) -> String {
        let mut text = String::new();
        sample(&mut text, "mqlb_x", labels.iter().copied(), value.into());
        text
    }

    #[test]
    fn a_value_without_labels_has_no_braces() {
        assert_eq!(rendered(&[], true), "mqlb_x 1\n");
    }

    #[test]
    fn counters_keep_every_digit() {
        let text = rendered(&[("a", "b"), ("c", "d")], u64::MAX);
        assert_eq!(text, "mqlb_x{a=\"b\",c=\"d\"} 18446744073709551615\n");
    }

    #[test]
    fn small_numbers_are_written_out() {
        assert_eq!(rendered(&[], 0.000_012), "mqlb_x 0.000012\n");
    }

    #[test]
    fn labels_and_help_cannot_end_their_line() {
        let text = rendered(&[("path", "a\\b\"c\nd")], 1_u64);
        assert_eq!(text, "mqlb_x{path=\"a\\\\b\\\"c\\nd\"} 1\n");
        let mut text = String::new();
        head(&mut text, "mqlb_x", Kind::Counter, "a\\b\nc");
        assert_eq!(text, "# HELP mqlb_x a\\\\b\\nc\n# TYPE mqlb_x counter\n");
    }
}
