//! Follows chosen packets: begins, tells, ends. One trace at a time, bounded in time and packets.

mod order;
mod told;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lb_common::trace::TraceFilter;

pub use order::{Limits, TraceOrder, TraceRefusal, client_prefix, verdicts_named};
pub use told::{FrameReport, Told, TraceEnd, TraceLine, TracePacket, WhyEnded};

use self::told::BackendNames;
use super::{controller::Controller, datapath::DatapathError, error::ChangeError};

/// How often who reads the packets looks whether somebody still wants them.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long after its time a trace is ended by the controller, if whoever had it did not.
const GRACE: Duration = Duration::from_secs(2);

/// Where the packets of a trace come from.
pub trait TraceSource: Send {
    /// The next packet, if there is one within `patience`.
    fn next(&mut self, patience: Duration) -> io::Result<Option<Told>>;

    /// How many packets could not be told of, because nobody read fast enough.
    fn lost(&self) -> Result<u64, DatapathError>;
}

/// The trace that runs, as the controller remembers it.
#[derive(Clone, Debug)]
pub struct Running {
    session: u64,
    until: Instant,
    told_to_end: Arc<AtomicBool>,
}

/// A trace that runs, for whoever asked for it. Dropping it does not end it: see
/// [`Controller::end_trace`].
pub struct Trace {
    /// Its number.
    pub session: u64,
    source: Box<dyn TraceSource>,
    names: BackendNames,
    until: Instant,
    count: u64,
    told_to_end: Arc<AtomicBool>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Trace {
    /// Passes packets on to `tell` until the trace is over, or `tell` returns false, or `gone` true.
    /// Blocks.
    pub fn follow(
        &mut self,
        mut tell: impl FnMut(TracePacket) -> bool,
        gone: impl Fn() -> bool,
    ) -> io::Result<TraceEnd> {
        let mut packets = 0;
        let why = loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if packets == self.count {
                break WhyEnded::Count;
            }
            if left.is_zero() {
                break WhyEnded::Duration;
            }
            if self.told_to_end.load(Ordering::Relaxed) {
                break WhyEnded::Told;
            }
            match self.source.next(left.min(LOOK_EVERY))? {
                Some(told) if tell(told.report(&self.names)) => packets += 1,
                None if !gone() => {}
                _ => break WhyEnded::Gone,
            }
        };
        let lost = self.source.lost().map_err(io::Error::other)?;
        Ok(TraceEnd { why, packets, lost })
    }
}

impl Controller {
    /// What makes ready for traces, on a thread of its own. Balancing goes on without, if that fails.
    #[must_use]
    pub fn trace_preparation(&self) -> Box<dyn FnOnce() + Send> {
        let preparation = self.applied.datapath().trace_preparation();
        Box::new(move || {
            if let Some(Err(error)) = preparation.map(|prepare| prepare()) {
                tracing::error!(%error, "`mqlb trace` will not work");
            }
        })
    }

    /// Begins to follow packets.
    pub fn begin_trace(&mut self, order: &TraceOrder) -> Result<Trace, ChangeError> {
        let now = Instant::now();
        if let Some(running) = &self.trace {
            let left_s = running.until.saturating_duration_since(now).as_secs() + 1;
            return Err(TraceRefusal::Busy { left_s }.into());
        }
        let lasts = Duration::from_secs(order.duration_s);
        let session = self.traces + 1;
        let filter = TraceFilter { session, ..self.trace_filter(order)? };
        let names = BackendNames::new(&self.config, &self.overlay);
        let source = self.applied.datapath_mut().start_trace(&filter, lasts)?;
        self.traces = session;
        let until = now + lasts;
        let told_to_end = Arc::<AtomicBool>::default();
        self.trace = Some(Running { session, until, told_to_end: Arc::clone(&told_to_end) });
        tracing::info!(session, ?order, "packets are traced");
        Ok(Trace { session, source, names, until, count: order.count, told_to_end })
    }

    /// Tells whoever follows packets to end, in a moment. Whether anybody does.
    #[must_use]
    pub fn tell_trace_to_end(&self) -> bool {
        self.trace.iter().for_each(|running| running.told_to_end.store(true, Ordering::Relaxed));
        self.trace.is_some()
    }

    /// Ends a trace, unless it has ended.
    pub fn end_trace(&mut self, session: u64) {
        if self.trace.as_ref().is_some_and(|running| running.session == session) {
            match self.applied.datapath_mut().stop_trace() {
                Ok(()) => {
                    self.trace = None;
                    tracing::info!(session, "packets are not traced any more");
                }
                // Tried again with every tick.
                Err(error) => tracing::error!(%error, "the trace could not be ended"),
            }
        }
    }

    /// Ends a trace whose time has been over for a while.
    pub(super) fn end_overdue_trace(&mut self) {
        if let Some(Running { session, until, .. }) = self.trace
            && Instant::now() > until + GRACE
        {
            self.end_trace(session);
        }
    }
}
