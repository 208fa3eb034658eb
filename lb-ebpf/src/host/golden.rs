//! Golden conversations: packets, and for each the verdict and the bytes that must come of it.
//!
//! One set for both runners: the host library, and the program in the kernel by
//! `BPF_PROG_TEST_RUN`. Expected bytes are built from scratch by [`Frame`], never taken from the
//! pipeline.

mod admission;
mod affinity;
mod cases;
pub mod decap;
mod direct;
mod errors;
mod fragments;
mod net;
mod script;
mod segments;
mod tags;
mod too_big;
mod tunnel;

use std::{boxed::Box, string::String, vec::Vec};

use lb_common::verdict::Verdict;

use crate::host::{Bytes, World};

pub use cases::all;
pub use decap::BrokerHost;
pub use net::{Family, GATEWAY_MAC, Net, OUR_MAC, SILENT_HOST, broker_mac};

/// A conversation with a world that starts empty of flows.
#[derive(Debug)]
pub struct Case {
    /// What it proves, as a sentence in snake case, with the family in front.
    pub name: String,
    /// The tables as the controller has written them.
    pub world: World,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// The counters of verdicts afterwards: exactly these, with these values.
    pub counted: Vec<(Verdict, u64)>,
}

/// One event of a conversation.
#[derive(Debug)]
pub enum Step {
    /// A frame arrives.
    Packet {
        /// The frame.
        input: Bytes,
        /// Its verdict.
        verdict: Verdict,
        /// The frame afterwards.
        output: Bytes,
    },
    /// The controller changes tables; the new world's plain tables replace the old ones.
    Change(Box<World>),
}
