//! Where output goes, and in which shape.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::{Outcome, failure::Failure, table::Table};
use crate::api::types::Changed;

/// The shape of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// JSON for programs.
    pub json: bool,
    /// Colours for people.
    pub colour: bool,
}

impl Output {
    /// Colours are for terminals, unless `NO_COLOR` is set (see no-color.org).
    pub fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { json, colour: wanted && able && !json && io::stdout().is_terminal() }
    }

    /// Prints `text`, which ends with a line break.
    #[allow(clippy::unused_self, reason = "all output goes through here")]
    pub fn text(self, text: &str) -> Outcome {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // Whoever read it has read enough, such as `head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
            Err(error) => Err(Failure::failed(&error, "the output could not be written")),
            Ok(()) => Ok(()),
        }
    }

    /// Prints `data` as JSON.
    pub fn data(self, data: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(data)
            .map_err(|error| Failure::failed(&error, "this is a bug in mqlb"))?;
        self.text(&format!("{text}\n"))
    }

    /// Prints a table.
    pub fn table(self, table: &Table) -> Outcome {
        self.text(&table.render(self.colour))
    }

    /// Tells people something; programs only listen to stdout.
    #[allow(clippy::unused_self, reason = "all output goes through here")]
    pub fn message(self, text: &str) {
        // Nobody is left to be told if this fails.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Reports what a command did.
    pub fn changed(self, changed: &Changed) -> Outcome {
        for warning in &changed.warnings {
            self.message(&format!("warning: {warning}"));
        }
        if self.json { self.data(changed) } else { self.text(&format!("{}\n", changed.message)) }
    }
}
