//! Frames that are none of our business: they pass unchanged.

use std::{vec, vec::Vec};

use lb_common::verdict::Verdict;

use super::{Script, syn};
use crate::host::{
    Bytes, Frame,
    golden::{Case, Family, Net},
};

pub(super) fn all(net: Net) -> Vec<Case> {
    let good = syn(net).bytes();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes.0);
        bytes
    };
    let case = |name, verdict, bytes: Bytes| Script::new(net).unchanged(&bytes, verdict).case(name);
    let elsewhere = Frame { destination: (net.vip().0, 22), ..syn(net) }.bytes();
    let mut cases = vec![
        case(
            "another_ethertype_passes",
            Verdict::NotIp,
            changed(&|b| b[12..14].copy_from_slice(&[8, 6])),
        ),
        case(
            "a_tagged_frame_passes",
            Verdict::NotIp,
            changed(&|b| b[12..14].copy_from_slice(&[0x81, 0])),
        ),
        case("ssh_to_the_vip_passes", Verdict::NotOurs, elsewhere),
        case(
            "a_header_that_ends_early_passes",
            Verdict::BadLength,
            changed(&|b| b.truncate(14 + 24)),
        ),
        case("another_version_passes", Verdict::BadLength, changed(&|b| b[14] = 0x75)),
    ];
    let tcp = if net.0 == Family::V4 { 34 } else { 54 };
    cases.push(case(
        "a_tcp_offset_beyond_the_packet_passes",
        Verdict::BadLength,
        changed(&|b| b[tcp + 12] = 0xf0),
    ));
    cases.push(case(
        "a_tcp_offset_below_five_passes",
        Verdict::BadLength,
        changed(&|b| b[tcp + 12] = 0x40),
    ));
    match net.0 {
        Family::V4 => cases.extend([
            case("udp_passes", Verdict::NotTcp, changed(&|b| b[23] = 17)),
            case("ipv4_options_pass", Verdict::IpOptions, changed(&|b| b[14] = 0x46)),
            case("a_first_fragment_passes", Verdict::Fragment, changed(&|b| b[20] = 0x20)),
            case("a_later_fragment_passes", Verdict::Fragment, changed(&|b| b[21] = 0x10)),
            case("a_wrong_ipv4_checksum_passes", Verdict::BadIpChecksum, changed(&|b| b[24] ^= 1)),
            case(
                "a_header_shorter_than_five_words_passes",
                Verdict::BadLength,
                changed(&|b| b[14] = 0x44),
            ),
        ]),
        Family::V6 => cases.extend([
            case("udp_passes", Verdict::NotTcp, changed(&|b| b[20] = 17)),
            case("icmpv6_passes", Verdict::NotTcp, changed(&|b| b[20] = 58)),
            case("an_extension_header_passes", Verdict::ExtensionHeader, changed(&|b| b[20] = 0)),
            case("a_fragment_passes", Verdict::Fragment, changed(&|b| b[20] = 44)),
            case("a_length_beyond_the_frame_passes", Verdict::BadLength, changed(&|b| b[19] += 1)),
        ]),
    }
    cases
}
