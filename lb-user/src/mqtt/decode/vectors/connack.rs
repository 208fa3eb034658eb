//! The vectors of the CONNACK, in whatever pieces they come.

use std::fmt::Write;

use super::judge::Judge;
use super::notation::Vector;
use crate::mqtt::decode::{Answer, AnswerError, AnswerPacket, ConnackDecoder};
use crate::mqtt::{Connack, Version};

const MAX_PACKET_BYTES: u32 = 128 * 1024;

/// A vector, the version of the CONNECT it answers, and what is expected.
fn vectors() -> impl Iterator<Item = (Vector, Version, String)> {
    super::connack().into_iter().map(|vector| {
        let (version, expected) =
            vector.expected.strip_prefix("for ").unwrap().split_once(' ').unwrap();
        let version = match version {
            "3.1" => Version::V31,
            "3.1.1" => Version::V311,
            "5.0" => Version::V5,
            other => panic!("{other}"),
        };
        let expected = expected.to_owned();
        (vector, version, expected)
    })
}

/// The outcome in the words of the vectors.
fn told(outcome: &Result<Option<Answer>, AnswerError>) -> String {
    match outcome {
        Ok(None) => "more".into(),
        Ok(Some(Answer { packet: AnswerPacket::Auth, .. })) => "auth".into(),
        Ok(Some(Answer { packet: AnswerPacket::Connack(connack), .. })) => {
            format!("accept {}", read(connack))
        }
        Err(error) => format!("refuse {error}"),
    }
}

fn read(connack: &Connack) -> String {
    let mut text = format!("code={}", connack.code);
    let mut word = |word: &str| write!(text, " {word}").unwrap();
    for (is, name) in
        [(connack.session_present, "session"), (connack.may_succeed_elsewhere(), "elsewhere")]
    {
        if is {
            word(name);
        }
    }
    let properties = &connack.properties;
    if let Some(seconds) = properties.server_keep_alive_s {
        word(&format!("keep_alive={seconds}"));
    }
    if let Some(seconds) = properties.session_expiry_s {
        word(&format!("expiry={seconds}"));
    }
    for (name, value) in [
        ("id", &properties.assigned_client_id),
        ("reference", &properties.server_reference),
        ("reason", &properties.reason_string),
    ] {
        if let Some(value) = value {
            word(&super::text(name, value));
        }
    }
    text
}

fn feed<'a>(
    version: Version,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Answer>, AnswerError> {
    let mut decoder = ConnackDecoder::new(version, MAX_PACKET_BYTES);
    for piece in pieces {
        match decoder.feed(piece) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

#[test]
fn answers_come_out_as_the_vectors_say_however_they_are_cut() {
    for (Vector { name, bytes, .. }, version, expected) in vectors() {
        assert_eq!(told(&feed(version, bytes.chunks(1))), expected, "{name}, byte by byte");
        for cut in 0..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(told(&feed(version, [front, back])), expected, "{name}, cut behind {cut}");
        }
    }
}

#[test]
fn what_follows_an_answer_is_kept() {
    for (Vector { name, bytes, .. }, version, expected) in vectors() {
        let followed = [bytes.as_slice(), b"\x30\0"].concat();
        let outcome = feed(version, [followed.as_slice()]);
        assert_eq!(told(&outcome), expected, "{name}");
        if let Ok(Some(answer)) = outcome {
            assert_eq!((answer.packet_bytes, answer.bytes), (bytes.len(), followed), "{name}");
        }
    }
}

#[test]
fn other_codecs_agree_but_where_it_is_said_why_not() {
    for (vector, version, expected) in vectors().filter(|(_, _, expected)| expected != "auth") {
        for judge in Judge::ALL {
            let accepts = judge.accepts_connack(version, &vector.bytes);
            judge.differs(&vector, accepts, expected.starts_with("accept"));
        }
    }
}

#[test]
fn an_error_is_repeated_and_keeps_nothing() {
    let mut decoder = ConnackDecoder::new(Version::V311, MAX_PACKET_BYTES);
    for _ in 0..3 {
        let error = decoder.feed(b"HTTP/1.1 400 Bad Request").unwrap_err();
        assert_eq!(error, AnswerError::Unexpected { packet_type: 4, flags: 8 });
        assert_eq!(decoder.capacity_bytes(), 0);
    }
}
