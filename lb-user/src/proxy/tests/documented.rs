//! The tables in docs/mqtt-mode.md name tests that exist, and one for all that is said to be done.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All of the Rust below `directory`.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_feature_beside_haproxy_and_nginx_is_proved_by_a_test_or_said_not_to_be_there() {
    let mut code = String::new();
    for directory in ["lb-user/src", "lb-user/tests", "tests/tests"] {
        sources(&workspace().join(directory), &mut code);
    }
    let page = fs::read_to_string(workspace().join("docs/mqtt-mode.md")).unwrap();
    let (_, tables) = page.split_once("## Beside HAProxy and NGINX Plus").unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.contains(" | Here | ");
    let rows = tables.lines().filter(is_row);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [feature, here, tests] = cells[..] else { panic!("not three cells: {row}") };
        // Every second piece stands between two backticks.
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        for name in &names {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}: {feature}");
        }
        let excused = here.contains("**No**") || tests.contains("as above");
        assert!(excused || !names.is_empty(), "nothing proves it: {feature}");
        seen += 1;
    }
    assert!(seen > 50, "only {seen} rows found");
}
