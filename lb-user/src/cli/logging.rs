//! Where log lines go.

use std::io;

use tracing_subscriber::{EnvFilter, filter::ParseError};

use super::failure::Failure;
use crate::config::model::{LogFormat, LogSettings};

/// Logs to stderr from now on. `RUST_LOG`, if set, overrules the level of the configuration; packets
/// that are to be logged are logged at any level.
pub(super) fn start(settings: LogSettings, packets: bool) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            Failure::wrong(&format!("RUST_LOG={text}: {error}"), "such as RUST_LOG=debug")
        })?,
        _ => EnvFilter::new(settings.level.as_str()),
    };
    let filter = if packets {
        filter.add_directive(
            "packet=info"
                .parse()
                .map_err(|error: ParseError| Failure::failed(&error, "this is a bug in mqlb"))?,
        )
    } else {
        filter
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match settings.format {
        // systemd's journal has times of its own.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            builder.without_time().with_ansi(false).try_init()
        }
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::failed(&error, "this is a bug in mqlb"))
}
