//! `mqlb config check`

use std::path::Path;

use serde_json::json;

use super::{Outcome, failure::Failure, output::Output};
use crate::config::{self, ConfigError};

/// Names every mistake in `file`.
pub(super) fn check(file: &Path, output: Output) -> Outcome {
    let checked = config::load(file).and_then(|config| {
        config::check_files(&config)?;
        Ok(config)
    });
    match checked {
        Ok(config) => {
            if output.json {
                return output.data(&json!({ "valid": true, "config": config }));
            }
            let backends: usize = config.services.iter().map(|s| s.backends.len()).sum();
            let services = config.services.len();
            output.text(&format!(
                "{} is valid: {}, {}\n",
                file.display(),
                count(services, "service"),
                count(backends, "backend")
            ))
        }
        Err(error) if output.json => {
            let report = match &error {
                ConfigError::Invalid { issues, .. } => json!({ "valid": false, "issues": issues }),
                ConfigError::Read { .. } => {
                    json!({ "valid": false, "issues": [], "error": error.to_string() })
                }
            };
            output.data(&report)?;
            Err(Failure::silent(2))
        }
        Err(error) => Err(error.into()),
    }
}

/// `number` things called `noun`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
