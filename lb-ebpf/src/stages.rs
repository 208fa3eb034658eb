//! The stages of a frame's way: the pipeline, and what goes before and after it for the few frames
//! that it does not understand as they are.
//!
//! In the kernel a stage is a function of its own, because a chain of calls has a stack of 512
//! bytes together: the pipeline needs most of it. What is rare comes behind it, at the cost of a
//! comparison or none for all others.

use lb_common::verdict::{Action, Verdict};

use crate::{Outcome, balance, fragments, icmp, packet::Packet, tables::Tables, tags};

/// The stages, as functions that share nothing but the frame and the tables.
pub trait Stages {
    /// The frame.
    type Packet: Packet;

    /// The frame.
    fn packet(&mut self) -> &mut Self::Packet;
    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// The pipeline, [`balance`].
    fn balance(&mut self) -> Outcome;
    /// Of a frame that is not TCP, [`icmp::error`].
    fn icmp_error(&mut self) -> Outcome;
    /// Of a fragment, [`fragments::handle`].
    fn fragment(&mut self) -> Outcome;
    /// Of what was a fragment, with what became of it, [`fragments::put_back`].
    fn fragment_again(&mut self, outcome: Outcome) -> Outcome;
    /// Of a segment of which so many bytes would fit, [`icmp::too_big`].
    fn too_big(&mut self, mtu: u32) -> Outcome;
}

/// Handles one frame: afterwards it is either ready to be sent as the outcome says, or unchanged.
#[inline(always)]
pub fn run(stages: &mut impl Stages) -> Outcome {
    let outcome = untagged(stages);
    if outcome.verdict != Verdict::NotIp {
        return outcome;
    }
    match tags::take_off(stages.packet()) {
        Some(tags) => tagged(stages, tags),
        None => outcome,
    }
}

#[inline(always)]
fn untagged(stages: &mut impl Stages) -> Outcome {
    let outcome = stages.balance();
    match outcome.verdict {
        Verdict::NotTcp => stages.icmp_error(),
        Verdict::Fragment => fragment(stages),
        Verdict::TooBig => stages.too_big(outcome.detail),
        _ => outcome,
    }
}

#[inline(always)]
fn fragment(stages: &mut impl Stages) -> Outcome {
    let outcome = stages.fragment();
    if outcome != fragments::MADE_WHOLE {
        return outcome;
    }
    let outcome = stages.balance();
    stages.fragment_again(outcome)
}

/// The way of a frame whose tags were taken off. It keeps them, and so its VLAN, only on the link
/// that it came from.
#[inline(always)]
fn tagged(stages: &mut impl Stages, tags: tags::Tags) -> Outcome {
    let outcome = untagged(stages);
    if tags::put_back(stages.packet(), tags).is_none() {
        return Outcome::of(Verdict::NoHeadroom);
    }
    let forwarded = outcome.verdict.action() == Action::Forward;
    if forwarded && outcome.detail != stages.ingress() {
        return Outcome::of(Verdict::TaggedElsewhere);
    }
    outcome
}

/// The stages as they are, one inlined behind the other.
pub(crate) struct InOne<'a, P, T> {
    pub packet: &'a mut P,
    pub tables: &'a T,
}

impl<P: Packet, T: Tables> Stages for InOne<'_, P, T> {
    type Packet = P;

    fn packet(&mut self) -> &mut P {
        self.packet
    }

    fn ingress(&self) -> u32 {
        self.tables.ingress()
    }

    fn balance(&mut self) -> Outcome {
        balance(self.packet, self.tables)
    }

    fn icmp_error(&mut self) -> Outcome {
        icmp::error(self.packet, self.tables)
    }

    fn fragment(&mut self) -> Outcome {
        fragments::handle(self.packet, self.tables)
    }

    fn fragment_again(&mut self, outcome: Outcome) -> Outcome {
        fragments::put_back(self.packet, self.tables, outcome)
    }

    fn too_big(&mut self, mtu: u32) -> Outcome {
        icmp::too_big(self.packet, self.tables, mtu)
    }
}
