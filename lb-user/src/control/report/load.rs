//! What brokers say of their own loads.

use serde::{Deserialize, Serialize};

use crate::load::gauge::Reading;

/// What a broker says of its own load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The load; `None` if it is not known, or too old: it counts as the median of the
    /// others then.
    pub value: Option<f64>,
    /// Seconds since it was read last; `None` if it never was.
    pub read_s_ago: Option<u64>,
    /// Readings that ended.
    pub reads: u64,
    /// Those of them that failed.
    pub failed_reads: u64,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

impl From<Reading> for LoadReport {
    fn from(reading: Reading) -> Self {
        Self {
            value: reading.load,
            read_s_ago: reading.age.map(|age| age.as_secs()),
            reads: reading.reads,
            failed_reads: reading.failed,
            last_error: reading.last_error,
        }
    }
}
