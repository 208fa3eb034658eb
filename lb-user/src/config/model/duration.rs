//! Durations, serialised as the file spells them.

use std::time::Duration;

use serde::Serializer;

/// Writes `duration` as in "1m 30s".
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
