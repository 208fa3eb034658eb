//! What an operator, a failing network and the clock ask of the controller of a run.

/// How many brokers there are.
pub(in crate::datapath) const BROKERS: usize = 4;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) enum Order {
    /// Collect everything that is due, and move the slots on.
    Sweep,
    SweepHandshakes,
    /// Another controller takes over.
    Restart,
    /// Add or remove this broker.
    Wanted(usize),
    /// Drain this broker, or take it back.
    Drained(usize),
    /// This broker goes down, or comes up.
    Health(usize),
    /// Only lead new flows elsewhere.
    Weights,
}

impl Order {
    pub(in crate::datapath) fn any(random: &mut fastrand::Rng) -> Self {
        let broker = random.usize(..BROKERS);
        match random.u8(..20) {
            0..8 => Self::Sweep,
            8 | 9 => Self::SweepHandshakes,
            10 => Self::Restart,
            11 | 12 => Self::Wanted(broker),
            13 | 14 => Self::Drained(broker),
            15..18 => Self::Health(broker),
            _ => Self::Weights,
        }
    }
}
