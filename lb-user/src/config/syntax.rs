//! Reads YAML into the raw shape; a mistake of syntax or shape becomes an [`Issue`].

use super::{
    error::Issue,
    fault::{Fault, did_you_mean},
    path::YamlPath,
    raw,
};

/// The raw configuration in `text`. Fails with the first mistake.
pub fn read(text: &str) -> Result<raw::Config, Issue> {
    // An empty document is no mapping for serde_yaml; for us it is one without keys.
    let document = serde_path_to_error::deserialize::<_, Option<raw::Config>>(
        serde_yaml::Deserializer::from_str(text),
    );
    match document {
        Ok(raw) => Ok(raw.unwrap_or_default()),
        Err(error) => Err(issue(text, &YamlPath::from(error.path()), error.inner())),
    }
}

fn issue(text: &str, path: &YamlPath, error: &serde_yaml::Error) -> Issue {
    let location = error.location().map(super::Location::from);
    let message = bare_message(error);
    match shape_fault(&message) {
        Some(fault) => Issue { path: path.clone(), location, fault },
        None => Issue {
            path: YamlPath::default(),
            location,
            fault: Fault::new(
                format!("not valid YAML: {message}"),
                syntax_hint(text, &message, location.map(|at| at.line)),
            ),
        },
    }
}

/// What the error says, without the path and the place that `serde_yaml` puts around it.
fn bare_message(error: &serde_yaml::Error) -> String {
    let mut message = error.to_string();
    if let Some(at) = error.location() {
        let place = format!(" at line {} column {}", at.line(), at.column());
        message = message.replacen(&place, "", 1);
    }
    let start = SHAPE_MESSAGES.iter().filter_map(|start| message.find(start)).min();
    start.map_or_else(|| message.clone(), |start| message[start..].to_owned())
}

const UNKNOWN: &str = "unknown field `";
const DUPLICATE: &str = "duplicate field `";
const WRONG_TYPE: &str = "invalid type: ";

/// How the messages begin that serde makes of a wrong shape.
const SHAPE_MESSAGES: [&str; 3] = [UNKNOWN, DUPLICATE, WRONG_TYPE];

fn shape_fault(message: &str) -> Option<Fault> {
    if let Some(rest) = message.strip_prefix(UNKNOWN) {
        // "unknown field `a`, expected one of `b`, `c`"
        let (key, expected) = rest.split_once('`')?;
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        return Some(unknown_key(key, &known));
    }
    if let Some(rest) = message.strip_prefix(DUPLICATE) {
        let (key, _) = rest.split_once('`')?;
        return Some(Fault::new(
            format!("the key `{key}` is given twice"),
            "keep one of the two; for several items write a list, each item after `- `",
        ));
    }
    let rest = message.strip_prefix(WRONG_TYPE)?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    Some(wrong_type(found, expected))
}

fn unknown_key(key: &str, known: &[&str]) -> Fault {
    let hint = if key == "<<" {
        "merge keys are not supported; share a whole mapping by an anchor and an alias".to_owned()
    } else {
        did_you_mean(key, known, "the keys here are")
    };
    Fault::new(format!("unknown key `{key}`"), hint)
}

fn wrong_type(found: &str, expected: &str) -> Fault {
    let (expected, hint) = match expected {
        "a sequence" => ("a list", "write each item on a line of its own, after `- `"),
        "a mapping" => (expected, "write `key: value` lines here, indented below this key"),
        _ => (expected, "write the value after the colon, on the same line"),
    };
    let found = match found {
        "map" => "a mapping".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "nothing".to_owned(),
        // Several words are a line whose colon was forgotten, and may end in a password.
        other if is_several_words(other) => "text without a colon".to_owned(),
        other => other.to_owned(),
    };
    Fault::new(format!("expected {expected}, found {found}"), hint)
}

fn syntax_hint(text: &str, message: &str, line: Option<usize>) -> String {
    let line = line.and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') {
        return "indent with spaces: YAML does not permit tabs".to_owned();
    }
    if message.contains("more than one document") {
        return "remove the line `---` that begins another document".to_owned();
    }
    "look at indentation, colons and quotes of this line and of the one above it".to_owned()
}

/// Whether serde found a string (`string "a b"`) with spaces or line breaks in it.
fn is_several_words(found: &str) -> bool {
    found.strip_prefix("string ").is_some_and(|text| text.contains(char::is_whitespace))
}
