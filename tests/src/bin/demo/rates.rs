//! What happened within the last second: differences between two looks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lb_tests::fleet::Report;

/// How far back the differences go.
const SPAN: Duration = Duration::from_secs(1);

/// The looks of the last second.
#[derive(Debug, Default)]
pub struct Rates(VecDeque<Sample>);

#[derive(Debug)]
struct Sample {
    at: Instant,
    /// By fleet and client: messages received.
    received: HashMap<(usize, u32), u64>,
    latency: Vec<Histogram<u64>>,
    packets: Option<u64>,
}

/// The differences.
#[derive(Debug, Default)]
pub struct Rate {
    /// Messages received per second, by the broker that the client is connected to now.
    pub messages: BTreeMap<String, u64>,
    pub packets: Option<u64>,
    /// The median, and what 99 of 100 messages took at most.
    pub latency: Option<(Duration, Duration)>,
}

impl Rates {
    /// Takes a look: at the reports of all fleets, and at the packets forwarded so far.
    pub fn look(&mut self, reports: &[Report], packets: Option<u64>) -> Rate {
        let now = Instant::now();
        let clients = reports.iter().enumerate().flat_map(|(fleet, report)| {
            report.clients.iter().map(move |client| ((fleet, client.client), client))
        });
        let received = clients.map(|(key, client)| (key, client.counts.received)).collect();
        let latency = reports.iter().map(|report| report.latency.clone()).collect();
        self.0.push_back(Sample { at: now, received, latency, packets });
        // The oldest look that is kept is at least one span old.
        while self.0.get(1).is_some_and(|second| now - second.at >= SPAN) {
            self.0.pop_front();
        }
        match (self.0.front(), self.0.back()) {
            (Some(then), Some(now)) => now.since(then, reports),
            _ => Rate::default(),
        }
    }
}

impl Sample {
    fn since(&self, then: &Self, reports: &[Report]) -> Rate {
        let span_ms = (self.at - then.at).as_millis();
        let per_second = |count: u64| {
            // A span too short says nothing.
            let rate = if span_ms > 200 { u128::from(count) * 1000 / span_ms } else { 0 };
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let mut messages: BTreeMap<String, u64> = BTreeMap::new();
        for (fleet, report) in reports.iter().enumerate() {
            for client in report.clients.iter().filter(|client| client.local.is_some()) {
                let before =
                    then.received.get(&(fleet, client.client)).copied().unwrap_or_default();
                let broker = client.broker.clone().unwrap_or_default();
                *messages.entry(broker).or_default() += client.counts.received - before;
            }
        }
        for count in messages.values_mut() {
            *count = per_second(*count);
        }
        let packets = self.packets.zip(then.packets);
        Rate {
            messages,
            packets: packets.map(|(now, then)| per_second(now.saturating_sub(then))),
            latency: self.latency_since(then),
        }
    }

    fn latency_since(&self, then: &Self) -> Option<(Duration, Duration)> {
        let mut all: Option<Histogram<u64>> = None;
        for (fleet, now) in self.latency.iter().enumerate() {
            let mut recent = now.clone();
            if let Some(before) = then.latency.get(fleet) {
                recent.subtract(before).ok()?;
            }
            match &mut all {
                None => all = Some(recent),
                Some(all) => all.add(recent).ok()?,
            }
        }
        let all = all.filter(|all| !all.is_empty())?;
        let at = |quantile| Duration::from_nanos(all.value_at_quantile(quantile));
        Some((at(0.5), at(0.99)))
    }
}
