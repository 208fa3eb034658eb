//! Durations, serialised as the file spells them.

use std::time::Duration;

use serde::Serializer;

/// Writes `duration` as in "1m 30s".
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Writes `duration` likewise, or `never` if there is none.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub fn serialize_option<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize(duration, serializer),
        None => serializer.serialize_str("never"),
    }
}
