//! Conversations in a VLAN.

use std::{vec, vec::Vec};

use lb_common::{ring::Slot, service::mode, verdict::Verdict};

use super::{
    Case, Net,
    script::Script,
    segments::{ack, answer, client, syn, syn_ack},
};
use crate::{
    host::{Bytes, Frame, World},
    parse::tcp_flags::ACK,
};

/// VLAN 100, and, with a priority, VLAN 7 of a provider.
const CUSTOMER: [u8; 4] = [0x81, 0x00, 0x00, 0x64];
const PROVIDER: [u8; 4] = [0x88, 0xa8, 0xa0, 0x07];

pub(super) fn all(net: Net) -> Vec<Case> {
    vec![
        tags_are_kept_both_ways(net),
        tags_are_kept_in_front_of_a_tunnel(net),
        a_tagged_segment_is_reset_in_its_vlan(net),
        tags_do_not_leave_by_another_interface(net),
        a_tagged_frame_for_somebody_else_passes_as_it_is(net),
    ]
}

fn tagged(tags: &[[u8; 4]], bytes: Bytes) -> Bytes {
    let mut bytes = bytes;
    bytes.0.splice(12..12, tags.concat());
    bytes
}

/// A world whose frames come in by the interface that all of its ways lead out of.
fn one_armed(world: World) -> World {
    World { ingress: Net::INTERFACE, ..world }
}

impl Script {
    fn crosses(self, tags: &[[u8; 4]], frame: &Frame, verdict: Verdict, output: Bytes) -> Self {
        self.expect(tagged(tags, frame.bytes()), verdict, tagged(tags, output))
    }
}

fn tags_are_kept_both_ways(net: Net) -> Case {
    let mut script = Script::in_world(net, one_armed(net.world()));
    for tags in [&[CUSTOMER][..], &[PROVIDER, CUSTOMER], &[PROVIDER], &[CUSTOMER, CUSTOMER]] {
        for frame in [syn(net), ack(net), client(net, ACK, 0, 0, b"\xc0\x00")] {
            let to_broker = net.to_broker(&frame).bytes();
            script = script.crosses(tags, &frame, Verdict::ToBackend, to_broker);
            let to_client = net.to_client(&syn_ack(net)).bytes();
            script = script.crosses(tags, &syn_ack(net), Verdict::ToClient, to_client);
        }
    }
    script.case("tags_are_kept_both_ways")
}

fn tags_are_kept_in_front_of_a_tunnel(net: Net) -> Case {
    let mut world = net.direct_world(mode::IPIP);
    world.rings.insert(Net::SERVICE, Slot::stable(1));
    let wrapped = super::tunnel::to_broker(net, &syn(net));
    Script::in_world(net, one_armed(world))
        .crosses(&[PROVIDER, CUSTOMER], &syn(net), Verdict::ToBackend, wrapped.clone())
        .crosses(&[CUSTOMER], &syn(net), Verdict::ToBackend, wrapped)
        .case("tags_are_kept_in_front_of_a_tunnel")
}

fn a_tagged_segment_is_reset_in_its_vlan(net: Net) -> Case {
    let late = client(net, ACK, 7, 9, b"from before");
    Script::new(net)
        .crosses(&[CUSTOMER], &late, Verdict::UnknownFlowReset, answer(&late).bytes())
        .case("a_tagged_segment_is_reset_in_its_vlan")
}

fn tags_do_not_leave_by_another_interface(net: Net) -> Case {
    let to_broker = net.to_broker(&syn(net)).bytes();
    Script::new(net)
        .crosses(&[CUSTOMER], &syn(net), Verdict::TaggedElsewhere, to_broker)
        .case("tags_do_not_leave_by_another_interface")
}

fn a_tagged_frame_for_somebody_else_passes_as_it_is(net: Net) -> Case {
    let ssh = Frame { destination: (net.vip().0, 22), ..syn(net) }.bytes();
    let mut arp = syn(net).bytes();
    arp.0[12..14].copy_from_slice(&[8, 6]);
    let mut cut = tagged(&[PROVIDER, CUSTOMER], syn(net).bytes());
    cut.0.truncate(20);
    let three = tagged(&[PROVIDER, CUSTOMER, CUSTOMER], syn(net).bytes());
    Script::new(net)
        .unchanged(&tagged(&[CUSTOMER], ssh.clone()), Verdict::NotOurs)
        .unchanged(&tagged(&[PROVIDER, CUSTOMER], ssh), Verdict::NotOurs)
        .unchanged(&tagged(&[CUSTOMER], arp.clone()), Verdict::NotIp)
        .unchanged(&tagged(&[PROVIDER, CUSTOMER], arp), Verdict::NotIp)
        .unchanged(&three, Verdict::NotIp)
        .unchanged(&cut, Verdict::NotIp)
        .case("a_tagged_frame_for_somebody_else_passes_as_it_is")
}
