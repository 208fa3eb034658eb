//! The vectors of the CONNECT, in whatever pieces they come.

use std::collections::HashSet;
use std::fmt::Write;

use super::connect as vectors;
use super::judge::Judge;
use super::notation::Vector;
use crate::mqtt::Version;
use crate::mqtt::decode::{Connect, ConnectDecoder, Malformed, Refusal};

const MAX_PACKET_BYTES: u32 = 128 * 1024;
/// What the vectors say of it was seen with its version 2.6.12 (docs/design/mqtt-codec.md).
const HAPROXY: &str = "haproxy-2.6";

/// The outcome in the words of the vectors.
fn told(outcome: &Result<Option<Connect>, Refusal>) -> String {
    match outcome {
        Ok(None) => "more".into(),
        Ok(Some(connect)) => format!("accept {}", read(connect)),
        Err(refusal) => {
            let connack = refusal.connack().map_or_else(
                || "close".into(),
                |bytes| {
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
                },
            );
            format!("refuse {} {connack}", refusal.malformed.name())
        }
    }
}

fn read(connect: &Connect) -> String {
    let mut text = connect.version().to_string().split_off("MQTT ".len());
    let mut word = |word: &str| write!(text, " {word}").unwrap();
    if connect.clean_start() {
        word("clean");
    }
    word(&format!("keep_alive={}", connect.keep_alive_s()));
    word(&super::text("id", connect.client_id()));
    word(&match connect.session_expiry_s() {
        u32::MAX => "expiry=never".into(),
        seconds => format!("expiry={seconds}"),
    });
    if let Some(name) = connect.username() {
        word(&super::text("user", name));
    }
    for (is, name) in [
        (connect.has_password(), "password"),
        (connect.has_will(), "will"),
        (connect.extended_authentication(), "auth"),
    ] {
        if is {
            word(name);
        }
    }
    text
}

/// Feeds the pieces one by one, until the decoder is done or nothing is left.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Connect>, Refusal> {
    let mut decoder = ConnectDecoder::new(MAX_PACKET_BYTES);
    for piece in pieces {
        match decoder.feed(piece) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

#[test]
fn whole_packets_come_out_as_the_vectors_say() {
    for Vector { name, bytes, expected, .. } in vectors() {
        assert_eq!(told(&feed([bytes.as_slice()])), expected, "{name}");
    }
}

#[test]
fn byte_by_byte_it_is_the_same() {
    for Vector { name, bytes, expected, .. } in vectors() {
        assert_eq!(told(&feed(bytes.chunks(1))), expected, "{name}");
    }
}

#[test]
fn cut_anywhere_it_is_the_same() {
    for Vector { name, bytes, expected, .. } in vectors() {
        // Cuts of the longest ones would take minutes; what they cut is one long field.
        let step = 1 + bytes.len() / 1024;
        for cut in (0..bytes.len().min(64)).chain((64..bytes.len()).step_by(step)) {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(told(&feed([front, back])), expected, "{name}, cut behind {cut} bytes");
        }
    }
}

#[test]
fn what_follows_a_packet_is_kept_and_decides_nothing() {
    for Vector { name, bytes, expected, .. } in vectors() {
        let followed = [bytes.as_slice(), b"\xc0\0\x10"].concat();
        let outcome = feed([followed.as_slice()]);
        assert_eq!(told(&outcome), expected, "{name}");
        if let Ok(Some(connect)) = outcome {
            assert_eq!(connect.packet(), bytes, "{name}");
            assert_eq!(connect.behind(), b"\xc0\0\x10", "{name}");
            assert_eq!(connect.into_bytes(), followed, "{name}");
        }
    }
}

#[test]
fn a_packet_that_lacks_its_end_is_waited_for_or_refused_but_never_accepted() {
    for Vector { name, bytes, expected, .. } in vectors() {
        let short = told(&feed([&bytes[..bytes.len() - 1]]));
        assert!(short == "more" || short == expected && short.starts_with("refuse"), "{name}");
    }
}

#[test]
fn every_reason_has_a_vector() {
    let vectors = vectors();
    for malformed in Malformed::ALL {
        let begins = format!("refuse {} ", malformed.name());
        assert!(vectors.iter().any(|vector| vector.expected.starts_with(&begins)), "{begins}");
    }
}

#[test]
fn other_codecs_agree_but_where_it_is_said_why_not() {
    for (vector, judge) in vectors().iter().flat_map(|v| Judge::ALL.map(|judge| (v, judge))) {
        let ours = feed([vector.bytes.as_slice()]);
        let accepts = judge.accepts_connect(&vector.bytes);
        if let (true, Ok(Some(ours))) = (accepts, &ours) {
            judge.compare(&vector.bytes, ours);
        }
        judge.differs(vector, accepts, ours.is_ok());
    }
}

#[test]
fn every_malformed_packet_that_haproxy_lets_through_is_refused() {
    let through: Vec<_> =
        vectors().into_iter().filter(|v| v.said_by(HAPROXY) == Some("accepts")).collect();
    let reasons: HashSet<_> = through
        .iter()
        .map(|Vector { name, bytes, .. }| match feed([bytes.as_slice()]) {
            Err(refusal) => refusal.malformed,
            other => panic!("{name}: {other:?}"),
        })
        .collect();
    // Nine kinds, and what else it does not look at.
    for kind in [
        Malformed::WillQos,
        Malformed::WillFlagsWithoutWill,
        Malformed::PasswordWithoutUsername,
        Malformed::EmptyClientId,
        Malformed::Utf8,
        Malformed::NullCharacter,
        Malformed::ProtocolName,
        Malformed::ProtocolLevel,
        Malformed::NotConnect,
    ] {
        assert!(reasons.contains(&kind), "{kind:?}");
    }
}

#[test]
fn what_haproxy_refuses_when_it_arrives_in_two_pieces_is_accepted() {
    let refused: Vec<_> = vectors()
        .into_iter()
        .filter(|v| v.said_by(HAPROXY) == Some("refuses: cut behind the first two bytes"))
        .collect();
    assert_eq!(refused.len(), 3, "Remaining Length 128 and 256");
    for Vector { name, bytes, .. } in refused {
        let (front, back) = bytes.split_at(2);
        assert!(matches!(feed([front, back]), Ok(Some(_))), "{name}");
    }
}

#[test]
fn memory_follows_what_arrives_not_what_is_claimed() {
    let mut decoder = ConnectDecoder::new(u32::MAX);
    // A packet of 256 MiB, so it says.
    assert_eq!(decoder.feed(b"\x10\xff\xff\xff\x7f\0\x04MQTT\x04\x02\0\x1e\0\x02me"), Ok(None));
    assert!(decoder.capacity_bytes() < 128);
    for arrived in 1..=64 {
        assert_eq!(decoder.feed(&[b'x'; 1024]), Ok(None));
        assert!(decoder.capacity_bytes() < 2 * 1024 * arrived + 128);
    }
}

#[test]
fn a_refusal_is_repeated_and_keeps_nothing() {
    let mut decoder = ConnectDecoder::new(MAX_PACKET_BYTES);
    let refusal = Refusal { malformed: Malformed::NotConnect, version: None };
    for _ in 0..3 {
        assert_eq!(decoder.feed(&[b'G'; 4096]), Err(refusal));
        assert_eq!(decoder.capacity_bytes(), 0);
    }
}

#[test]
fn the_longest_packet_is_the_one_that_is_allowed() {
    let packet = b"\x10\x0d\0\x04MQTT\x05\x02\0\x1e\0\0\0";
    let at_most = |bytes| ConnectDecoder::new(bytes).feed(packet);
    assert_eq!(at_most(15).unwrap().unwrap().version(), Version::V5);
    assert_eq!(at_most(14).unwrap_err().malformed, Malformed::PacketTooLarge);
}
