//! The one timeout that a whole probe shares.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Phase, ProbeError};

/// The end of a probe's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    /// Ends `timeout` from now.
    pub(super) fn after(timeout: Duration) -> Self {
        Self { started: Instant::now(), timeout }
    }

    /// The time the probe has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a step to its end, or until the time is up.
    pub(super) async fn during<T>(
        &self,
        phase: Phase,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ProbeError> {
        self.limit(phase, async { step.await.map_err(|error| ProbeError::io(phase, error)) }).await
    }

    /// Like [`Deadline::during`], for a step with errors of its own.
    pub(super) async fn limit<T>(
        &self,
        phase: Phase,
        step: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        timeout_at(self.started + self.timeout, step)
            .await
            .unwrap_or(Err(ProbeError::Timeout { phase, timeout: self.timeout }))
    }
}
