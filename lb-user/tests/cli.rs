//! What the command line prints, compared with `tests/cli/*.trycmd`.
//!
//! After a change that is meant: `TRYCMD=overwrite cargo test -p lb-user --test cli`, and read the
//! difference.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn check(file: &Path, options: &[&str]) -> Output {
    let mut mqlb = Command::new(env!("CARGO_BIN_EXE_mqlb"));
    let (dir, name) = (file.parent().unwrap(), file.file_name().unwrap());
    mqlb.current_dir(dir).args(["config", "check"]).arg(name).args(options).output().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension() == Some(OsStr::new("yaml"))).collect()
}

#[test]
fn the_command_line_prints_what_is_recorded() {
    trycmd::TestCases::new()
        .env("MQLB_SOCKET", "/nonexistent/mqlb.sock")
        .env("NO_COLOR", "1")
        .case("tests/cli/*.trycmd");
}

#[test]
fn every_invalid_file_is_refused_with_its_message_and_code_2() {
    let files = files(&configs().join("invalid"));
    assert!(!files.is_empty());
    for file in files {
        let output = check(&file, &[]);
        let expected = fs::read_to_string(file.with_extension("err")).unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", file.display());
        assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), expected.trim_end());
        assert!(output.stdout.is_empty(), "{}", file.display());
    }
}

#[test]
fn programs_get_the_mistakes_as_json() {
    for file in files(&configs().join("invalid")) {
        let output = check(&file, &["--json"]);
        assert_eq!(output.status.code(), Some(2), "{}", file.display());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["valid"], false);
        assert!(report["issues"][0]["hint"].is_string(), "{}: {report}", file.display());
    }
}

#[test]
fn the_smallest_sample_is_valid() {
    let output = check(&configs().join("minimal.yaml"), &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "minimal.yaml is valid: 1 service, 2 backends\n");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let mqlb = Command::new(env!("CARGO_BIN_EXE_mqlb")).args(["completions", shell]).output();
        let script = String::from_utf8(mqlb.unwrap().stdout).unwrap();
        assert!(script.contains("undrain") && script.contains("mqlb"), "{shell}");
    }
}
