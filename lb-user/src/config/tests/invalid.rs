//! Every file in configs/invalid has one mistake and gives one error: the text in the `.err` file
//! beside it. Run with `UPDATE_EXPECT=1` to write these files anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::workspace;
use crate::config::{ConfigError, load, render_error};

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace("configs/invalid")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().unwrap() == "yaml").collect();
    files.sort();
    files
}

/// The text of the error, with the file's name in place of its path.
fn error_of(file: &Path) -> (usize, String) {
    let error = load(file).expect_err(&file.display().to_string());
    let ConfigError::Invalid { issues, .. } = &error else { panic!("{error}") };
    let name = file.file_name().unwrap().to_str().unwrap();
    (issues.len(), render_error(&error).replace(file.to_str().unwrap(), name))
}

#[test]
fn every_mistake_gives_one_error_that_says_what_to_do() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let (mistakes, error) = error_of(&file);
        let error = error + "\n";
        let expected = file.with_extension("err");
        if update {
            fs::write(&expected, &error).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if mistakes != 1 || error != expected {
            wrong.push(format!("{}\n{error}instead of\n{expected}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_expected_error_has_its_file() {
    for entry in fs::read_dir(workspace("configs/invalid")).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("yaml").exists(), "{}", path.display());
    }
}
