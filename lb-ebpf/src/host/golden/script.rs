//! How conversations are written down.

use std::{boxed::Box, string::String, vec, vec::Vec};

use lb_common::verdict::Verdict;

use super::{
    Case, Net, Step,
    segments::{ack, answer, syn, syn_ack},
};
use crate::host::{Bytes, Frame, World};

/// Writes a conversation down step by step.
pub(super) struct Script {
    net: Net,
    world: World,
    steps: Vec<Step>,
    counted: Vec<(Verdict, u64)>,
}

impl Script {
    pub(super) fn new(net: Net) -> Self {
        Self::in_world(net, net.world())
    }

    pub(super) fn in_world(net: Net, world: World) -> Self {
        Self { net, world, steps: vec![], counted: vec![] }
    }

    pub(super) const fn net(&self) -> Net {
        self.net
    }

    pub(super) fn expect(mut self, input: Bytes, verdict: Verdict, output: Bytes) -> Self {
        match self.counted.iter_mut().find(|(counted, _)| *counted == verdict) {
            Some((_, count)) => *count += 1,
            None => self.counted.push((verdict, 1)),
        }
        self.steps.push(Step::Packet { input, verdict, output });
        self
    }

    /// A segment that comes out as it went in.
    pub(super) fn unchanged(self, input: &Bytes, verdict: Verdict) -> Self {
        self.expect(input.clone(), verdict, input.clone())
    }

    pub(super) fn dropped(self, frame: &Frame, verdict: Verdict) -> Self {
        self.unchanged(&frame.bytes(), verdict)
    }

    pub(super) fn reaches_broker(self, frame: &Frame) -> Self {
        let output = self.net.to_broker(frame).bytes();
        self.expect(frame.bytes(), Verdict::ToBackend, output)
    }

    pub(super) fn reaches_client(self, frame: &Frame) -> Self {
        let output = self.net.to_client(frame).bytes();
        self.expect(frame.bytes(), Verdict::ToClient, output)
    }

    /// A segment that reaches a broker as its client sent it.
    pub(super) fn directly(self, frame: &Frame, broker: u8) -> Self {
        let output = self.net.directly(frame, broker).bytes();
        self.expect(frame.bytes(), Verdict::ToBackend, output)
    }

    pub(super) fn reset(self, frame: &Frame, verdict: Verdict) -> Self {
        let output = answer(frame).bytes();
        self.expect(frame.bytes(), verdict, output)
    }

    pub(super) fn change(mut self, change: impl FnOnce(&mut World)) -> Self {
        let mut world = self.net.world();
        change(&mut world);
        self.steps.push(Step::Change(Box::new(world)));
        self
    }

    pub(super) fn handshake(self) -> Self {
        let net = self.net;
        self.reaches_broker(&syn(net)).reaches_client(&syn_ack(net)).reaches_broker(&ack(net))
    }

    pub(super) fn case(self, name: &str) -> Case {
        let Self { world, steps, counted, .. } = self;
        Case { name: String::from(name), world, steps, counted }
    }
}
