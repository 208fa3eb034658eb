//! The fuzz target of the decoders: bytes as a client or a broker may send them, and what must hold
//! whatever they are.
//!
//! libFuzzer calls it (`fuzz/`), and a test that spoils the vectors by chance.

use super::vectors::{self, notation::Vector};
use super::{
    Answer, AnswerError, AnswerPacket, ConnackDecoder, Connect, ConnectDecoder, Refusal, Rewrite,
};
use crate::mqtt::{Connack, Version};

const MAX_PACKET_BYTES: u32 = 128 * 1024;
/// What a decoder may take beyond twice what has arrived: the smallest allocation.
const SLACK_BYTES: usize = 64;

/// Feeds what follows the first two bytes, whole and cut into pieces. The first says to which
/// decoder, the second how long a piece is.
///
/// It must not panic and take no more memory than bytes have arrived; the outcome must not depend on
/// the pieces; what is accepted must survive being written and read again, and what is refused must
/// be refused in words that can be read.
pub fn run(input: &[u8]) {
    let [decoder, piece, bytes @ ..] = input else { return };
    let pieces = bytes.chunks(usize::from(*piece).max(1));
    match decoder % 4 {
        0 => connect(bytes, pieces),
        1 => connack(Version::V31, bytes, pieces),
        2 => connack(Version::V311, bytes, pieces),
        _ => connack(Version::V5, bytes, pieces),
    }
}

/// The vectors as inputs of [`run`], with their names.
#[must_use]
pub fn corpus() -> Vec<(String, Vec<u8>)> {
    let input =
        |vector: Vector, decoder| (vector.name, [&[decoder, 1], vector.bytes.as_slice()].concat());
    let decoder = |expected: &str| match expected.split(' ').nth(1) {
        Some("3.1") => 1,
        Some("3.1.1") => 2,
        _ => 3,
    };
    let connect = vectors::connect().into_iter().map(|vector| input(vector, 0));
    let connack = vectors::connack().into_iter().map(|vector| {
        let decoder = decoder(&vector.expected);
        input(vector, decoder)
    });
    connect.chain(connack).collect()
}

fn connect<'a>(bytes: &'a [u8], pieces: impl Iterator<Item = &'a [u8]>) {
    let whole = feed_connect([bytes].into_iter());
    let cut = feed_connect(pieces);
    match (&whole, &cut) {
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!(whole.packet(), cut.packet());
            assert_eq!(whole.bytes(), bytes);
            assert!(bytes.starts_with(cut.bytes()));
        }
        _ => assert_eq!(whole, cut),
    }
    match whole {
        Ok(None) => {}
        Ok(Some(connect)) => survives_being_written(&connect),
        Err(refusal) => is_put_in_words(refusal),
    }
}

fn feed_connect<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<Connect>, Refusal> {
    let mut decoder = ConnectDecoder::new(MAX_PACKET_BYTES);
    let mut arrived = 0;
    for piece in pieces {
        arrived += piece.len();
        match decoder.feed(piece) {
            Ok(None) => assert!(decoder.capacity_bytes() <= 2 * arrived + SLACK_BYTES),
            done => {
                assert_eq!(decoder.capacity_bytes(), 0);
                return done;
            }
        }
    }
    Ok(None)
}

fn survives_being_written(connect: &Connect) {
    let Ok(written) = connect.rewrite(Rewrite::default()) else { panic!("{connect:?}") };
    let read = ConnectDecoder::new(u32::MAX).feed(written.bytes());
    assert_eq!(read.as_ref(), Ok(&Some(written.clone())));
    assert_eq!(fields(&written), fields(connect));
    // Before MQTT 5.0 a Remaining Length may have been longer than it need be, and with MQTT 3.1
    // fields may have been missing.
    if connect.version() == Version::V5 {
        assert_eq!(written.bytes(), connect.bytes());
    }
    let renamed = Rewrite { username: Some("another"), client_id: Some("device") };
    let Ok(renamed) = connect.rewrite(renamed) else { panic!("{connect:?}") };
    assert_eq!((renamed.username(), renamed.client_id()), (Some("another"), "device"));
    let back = Rewrite { username: connect.username(), client_id: Some(connect.client_id()) };
    let Ok(back) = renamed.rewrite(back) else { panic!("{connect:?}") };
    if connect.username().is_some() {
        assert_eq!(back, written);
    }
}

/// All that a CONNECT says, the will and the password byte for byte.
fn fields(connect: &Connect) -> impl PartialEq + std::fmt::Debug {
    let slice = |place: &Option<_>| place.as_ref().map(|place| connect.slice(place).to_vec());
    (
        format!("{:?}", connect.version()),
        (connect.clean_start(), connect.keep_alive_s(), connect.session_expiry_s()),
        connect.extended_authentication(),
        connect.client_id().to_owned(),
        slice(&connect.payload.will),
        slice(&connect.payload.username),
        slice(&connect.payload.password),
        connect.behind().to_owned(),
    )
}

fn is_put_in_words(refusal: Refusal) {
    let Some(packet) = refusal.connack() else { return };
    let Some(version) = refusal.version else { panic!("words for {refusal:?}") };
    match ConnackDecoder::new(version, 16).feed(&packet) {
        Ok(Some(Answer { packet: AnswerPacket::Connack(connack), .. })) => {
            assert!(!connack.accepted() && !connack.session_present);
            assert_eq!(connack.version, version);
        }
        other => panic!("{other:?}"),
    }
}

fn connack<'a>(version: Version, bytes: &'a [u8], pieces: impl Iterator<Item = &'a [u8]>) {
    let whole = feed_connack(version, [bytes].into_iter());
    let cut = feed_connack(version, pieces);
    match (whole, cut) {
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!((&whole.packet, whole.packet_bytes), (&cut.packet, cut.packet_bytes));
            assert_eq!(whole.bytes, bytes);
            assert!(bytes.starts_with(&cut.bytes));
            assert!(whole.packet_bytes <= cut.bytes.len());
            if let AnswerPacket::Connack(connack) = whole.packet {
                is_passed_on(&connack);
            }
        }
        (whole, cut) => assert_eq!(whole, cut),
    }
}

fn feed_connack<'a>(
    version: Version,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Answer>, AnswerError> {
    let mut decoder = ConnackDecoder::new(version, MAX_PACKET_BYTES);
    let mut arrived = 0;
    for piece in pieces {
        arrived += piece.len();
        match decoder.feed(piece) {
            Ok(None) => assert!(decoder.capacity_bytes() <= 2 * arrived + SLACK_BYTES),
            done => {
                assert_eq!(decoder.capacity_bytes(), 0);
                return done;
            }
        }
    }
    Ok(None)
}

/// A refusal of MQTT 5.0 is read as it was written; to older clients it is at least a refusal.
fn is_passed_on(connack: &Connack) {
    if connack.version != Version::V5 || connack.accepted() {
        return;
    }
    for version in [Version::V5, Version::V311, Version::V31] {
        let Some(packet) = Connack::refusal(version, connack.code) else { continue };
        let Ok(read) = Connack::decode(version, &packet[2..]) else { panic!("{packet:02x?}") };
        assert!(!read.accepted());
        assert!(version != Version::V5 || read.code == connack.code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::{env, fs, path::Path, sync::LazyLock};

    #[test]
    fn what_must_hold_holds_for_the_vectors() {
        let corpus = corpus();
        for (name, input) in &corpus {
            println!("{name}");
            run(input);
        }
        // For a fuzzer to begin with.
        if let Some(directory) = env::var_os("MQLB_FUZZ_CORPUS") {
            fs::create_dir_all(&directory).unwrap();
            for (number, (_, input)) in corpus.iter().enumerate() {
                fs::write(Path::new(&directory).join(format!("vector-{number}")), input).unwrap();
            }
        }
    }

    /// The vectors but for the long ones, which are long and nothing else.
    static SHORT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        corpus().into_iter().map(|(_, input)| input).filter(|input| input.len() < 512).collect()
    });

    fn cases() -> u32 {
        env::var("MQLB_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
    }

    /// A change of an input: where, what becomes of the byte there, and which byte it is.
    fn change() -> impl Strategy<Value = (prop::sample::Index, u8, u8)> {
        let telling = prop::sample::select(vec![0, 1, 2, 3, 4, 5, 0x10, 0x26, 0x7f, 0x80, 0xff]);
        (any::<prop::sample::Index>(), 0u8..4, prop_oneof![telling, any::<u8>()])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        #[test]
        fn what_must_hold_holds_for_spoilt_vectors(
            which: prop::sample::Index,
            piece: u8,
            changes in vec(change(), 0..8),
        ) {
            let mut input = which.get(&SHORT).clone();
            input[1] = piece;
            for (at, what, byte) in changes {
                let at = 2 + at.index(input.len() - 1);
                match what {
                    0 if at < input.len() => drop(input.remove(at)),
                    1 => input.insert(at, byte),
                    2 if at < input.len() => input[at] ^= 1 << (byte % 8),
                    _ if at < input.len() => input[at] = byte,
                    _ => input.push(byte),
                }
            }
            run(&input);
        }

        #[test]
        fn what_must_hold_holds_for_any_bytes(input in vec(any::<u8>(), 0..64)) {
            run(&input);
        }
    }
}
