//! What became of the packets.

use lb_common::verdict::{Action, Verdict};

use super::metric::{Metric, Values};

pub(super) const METRICS: &[Metric] = &[Metric::counter(
    "mqlb_packets_total",
    &["verdict", "action"],
    "Packets received on the balancer's interfaces, each counted once under its verdict.",
    Values::Once(|status, samples| {
        for verdict in Verdict::ALL {
            // A verdict that a newer program counts and this controller does not know is in no
            // list; one that it does not count yet is none so far.
            let packets = status.verdicts.get(verdict.name()).copied();
            samples.put(&[verdict.name(), name(verdict.action())], packets.unwrap_or_default());
        }
    }),
)];

pub(super) const fn name(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Forward => "forward",
        Action::Drop => "drop",
        Action::Reply => "reply",
    }
}
