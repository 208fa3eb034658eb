//! The vectors of the CONNECT, in whatever pieces they come.

use std::fmt::Write;

use super::judge;
use super::notation::{Vector, parse};
use crate::mqtt::Version;
use crate::mqtt::decode::{Connect, ConnectDecoder, Malformed, Refusal};

const MAX_PACKET_BYTES: u32 = 128 * 1024;

fn vectors() -> Vec<Vector> {
    parse(include_str!("connect.txt"))
}

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
fn another_codec_agrees_but_where_it_is_said_why_not() {
    for Vector { name, bytes, expected, judge } in vectors() {
        let version = expected.strip_prefix("accept ").and_then(|read| read.split(' ').next());
        let accepted = judge::accepts_connect(&bytes);
        if version.is_some_and(|version| version != "3.1") && accepted {
            judge::compare(&bytes, &feed([bytes.as_slice()]).unwrap().unwrap());
        }
        judge::differs(&name, judge.as_deref(), accepted, version.is_some());
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
