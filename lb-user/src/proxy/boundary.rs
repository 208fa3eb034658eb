//! Where one Control Packet ends and the next one begins, in bytes that are only passed on.
//!
//! A DISCONNECT of our own may stand between two packets of the broker, never inside one.

/// How far the current packet has passed. Only fixed headers are looked at (MQTT 5.0, section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The next byte begins a packet.
    #[default]
    Between,
    /// In the Remaining Length: its value so far, and how many of its bytes have passed.
    Length { value: u32, bytes: u8 },
    /// In what follows the fixed header: so many bytes are to come.
    Body(u32),
    /// This is no MQTT: there are no boundaries.
    Lost,
}

/// A Remaining Length has at most so many bytes (section 1.5.5).
const LENGTH_BYTES: u8 = 4;

impl Boundary {
    /// Takes note that `bytes` passed.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            self.0 = match self.0 {
                State::Between => State::Length { value: 0, bytes: 0 },
                State::Length { value, bytes } => {
                    let value = value | u32::from(first & 0x7f) << (7 * bytes);
                    match (first & 0x80, value) {
                        (0, 0) => State::Between,
                        (0, _) => State::Body(value),
                        _ if bytes + 1 == LENGTH_BYTES => State::Lost,
                        _ => State::Length { value, bytes: bytes + 1 },
                    }
                }
                State::Body(left) => {
                    let passed = left.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                    bytes = &bytes[passed as usize..];
                    self.0 =
                        if left == passed { State::Between } else { State::Body(left - passed) };
                    continue;
                }
                State::Lost => return,
            };
            bytes = rest;
        }
    }

    /// Whether a packet of our own could come now.
    #[must_use]
    pub fn is_between(self) -> bool {
        self.0 == State::Between
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(kind: u8, body: usize) -> Vec<u8> {
        let mut packet = vec![kind];
        let mut left = body;
        loop {
            let byte = (left % 128) as u8;
            left /= 128;
            packet.push(byte | if left > 0 { 0x80 } else { 0 });
            if left == 0 {
                break;
            }
        }
        packet.extend(vec![0xff; body]);
        packet
    }

    #[test]
    fn a_length_of_five_bytes_is_no_mqtt_and_nothing_brings_it_back() {
        let mut boundary = Boundary::default();
        boundary.pass(&[0x30, 0xff, 0xff, 0xff, 0xff]);
        assert!(!boundary.is_between());
        boundary.pass(&[0xd0, 0, 0xd0, 0]);
        assert!(!boundary.is_between());
    }

    proptest! {
        #[test]
        fn however_packets_arrive_boundaries_are_where_they_end(
            bodies in prop::collection::vec(
                prop_oneof![Just(0), Just(1), 120usize..140, 16_380usize..16_390, 0usize..300], 1..8,
            ),
            step in 1usize..500,
        ) {
            let packets: Vec<Vec<u8>> = bodies.iter().map(|body| packet(0x30, *body)).collect();
            let ends: Vec<usize> = packets
                .iter()
                .scan(0, |end, packet| {
                    *end += packet.len();
                    Some(*end)
                })
                .collect();
            let stream = packets.concat();
            let (mut boundary, mut passed) = (Boundary::default(), 0);
            for piece in stream.chunks(step) {
                boundary.pass(piece);
                passed += piece.len();
                prop_assert_eq!(boundary.is_between(), ends.contains(&passed), "at {}", passed);
            }
        }
    }
}
