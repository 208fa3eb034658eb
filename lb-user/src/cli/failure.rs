//! How a command fails: a message, a hint, an exit code.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    api::{client::ClientError, socket::SocketError},
    config::{ConfigError, render_error},
    control::error::{Blame, ChangeError},
};

/// Why a command was not done.
#[derive(Debug)]
pub(super) struct Failure {
    /// Everything that goes to stderr.
    text: String,
    code: u8,
}

impl Failure {
    /// It failed: exit code 1.
    pub fn failed(error: &dyn Display, hint: impl Display) -> Self {
        Self { text: format!("error: {error}\n  hint: {hint}"), code: 1 }
    }

    /// It was wrong to begin with: exit code 2.
    pub fn wrong(error: &dyn Display, hint: impl Display) -> Self {
        Self { code: 2, ..Self::failed(error, hint) }
    }

    /// It failed, and everything has been said: exit code `code`.
    pub const fn silent(code: u8) -> Self {
        Self { text: String::new(), code }
    }

    /// Says so, and names the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            // Nobody is left to be told if this fails.
            let _ = writeln!(io::stderr(), "{}", self.text);
        }
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { text: render_error(&error), code: 2 }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let wrong = matches!(error, ClientError::Refused { bad_request: true, .. });
        Self { code: if wrong { 2 } else { 1 }, ..Self::failed(&error, error.hint()) }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let code = if error.blame() == Blame::Request { 2 } else { 1 };
        Self { code, ..Self::failed(&error, error.hint()) }
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let hint = match error {
            SocketError::InUse(_) => "`mqlb status` shows it; end it before another is started",
            SocketError::NotASocket(_) => "move that file away, or set api.socket",
            SocketError::Io { .. } => "run as root, or set api.socket to where this user may write",
        };
        Self::failed(&error, hint)
    }
}
