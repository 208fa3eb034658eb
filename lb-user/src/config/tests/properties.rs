//! Whatever the text is, there is a configuration or an error, never a panic.

use proptest::{prelude::*, sample::select};

use super::text_of;
use crate::config::{ConfigError, parse, render_error};

/// Pieces that YAML-ish text is made of.
const PIECES: &[&str] = &[
    "interfaces:",
    "nat:",
    "services:",
    "health:",
    "backends:",
    "name:",
    "vip:",
    "port:",
    "tls:",
    "addresses:",
    "ports:",
    "status:",
    "type:",
    "mqtt",
    "http",
    "client_id:",
    "\n",
    "\n  ",
    "\n    ",
    "\n  - ",
    "\n      - ",
    " ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ": ",
    "\"",
    "'",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "? ",
    "|",
    ">",
    "#",
    "---",
    "...",
    "%",
    "\t",
    "~",
    "null",
    "0",
    "1883",
    "-1",
    "1e400",
    "10.0.0.1",
    "::1",
    "15000-30000",
    "2s",
    "99999999999999999999years",
    "é",
    "\u{0}",
    "\u{feff}",
];

fn check(text: &str) {
    if let Err(error) = parse(text) {
        let ConfigError::Invalid { issues, .. } = &error else { panic!("nothing was read") };
        assert!(!issues.is_empty());
        assert_eq!(render_error(&error).matches("hint: ").count(), issues.len());
    }
}

proptest! {
    #[test]
    fn text_made_of_yaml_pieces_never_panics(pieces in prop::collection::vec(select(PIECES), 0..60)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_text_never_panics(text: String) {
        check(&text);
    }

    #[test]
    fn a_value_of_any_text_never_panics(value in "\\PC{0,30}", at in 0..400_usize) {
        let text = text_of("configs/mqlb.yaml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = at % lines.len();
        if let Some((key, _)) = lines[at].split_once(':') {
            lines[at] = format!("{key}: {value}");
        }
        check(&lines.join("\n"));
    }

    #[test]
    fn a_sample_cut_anywhere_never_panics(at in any::<prop::sample::Index>()) {
        let text = text_of("configs/mqlb.yaml");
        check(&text.chars().take(at.index(text.len())).collect::<String>());
    }
}
