//! The turns of one gate.

use std::{collections::BTreeSet, time::Duration};

use super::Rate;

/// When the next connection may pass, if none was to come in a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next(Duration);

impl Next {
    /// The first free turn.
    pub(super) fn free(self, rate: Rate, now: Duration) -> Duration {
        self.0.saturating_sub(rate.tolerance()).max(now)
    }

    /// Takes the first free turn, unless it lies behind `deadline`.
    pub(super) fn take(
        &mut self,
        rate: Rate,
        now: Duration,
        deadline: Duration,
    ) -> Option<Duration> {
        let free = self.free(rate, now);
        if free > deadline {
            return None;
        }
        self.0 = self.0.max(free) + rate.interval();
        Some(free)
    }
}

/// The same, with turns whose clients went away before: others get them. Without that, clients that
/// give up before their turn and come again would keep each other from ever being let in.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: Next,
    /// At most one for each turn within the longest wait.
    given_back: BTreeSet<Duration>,
}

impl Turns {
    /// Takes the first free turn, unless it lies behind `deadline`.
    pub(super) fn take(
        &mut self,
        rate: Rate,
        now: Duration,
        deadline: Duration,
    ) -> Option<Duration> {
        self.given_back = self.given_back.split_off(&now);
        match self.given_back.first() {
            // All of these lie before those that nobody has had yet.
            Some(first) if *first <= deadline => self.given_back.pop_first(),
            Some(_) => None,
            None => self.next.take(rate, now, deadline),
        }
    }

    /// `turn`, which has not come yet at `now`, is free again.
    pub(super) fn give_back(&mut self, turn: Duration, now: Duration) {
        self.given_back = self.given_back.split_off(&now);
        self.given_back.insert(turn);
    }
}
