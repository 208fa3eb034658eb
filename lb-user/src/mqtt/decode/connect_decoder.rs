//! The CONNECT of a client, put together from what arrives.

use super::connect::Connect;
use super::head::Head;
use super::malformed::{Malformed, Refusal};
use super::payload::Payload;

/// Reads the first packet of a client.
///
/// It keeps what has arrived, and nothing more: its memory grows with that, never with what the
/// packet claims to be.
#[derive(Debug)]
pub struct ConnectDecoder {
    max_packet_bytes: usize,
    bytes: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waits for the beginning of the packet.
    Head,
    /// Waits for the end of it.
    Payload(Head),
    Refused(Refusal),
}

impl ConnectDecoder {
    /// Refuses packets of more than `max_packet_bytes`, fixed header included, once they say so.
    #[must_use]
    pub const fn new(max_packet_bytes: u32) -> Self {
        Self { max_packet_bytes: max_packet_bytes as usize, bytes: Vec::new(), state: State::Head }
    }

    /// Whether nothing has arrived yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory taken for what has arrived: at most twice as many.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes the bytes that have arrived, any number of them. Answers with the CONNECT once it is
    /// whole, together with what arrived behind it; the decoder is then empty.
    ///
    /// A refusal comes as soon as what has arrived decides it, the same however the bytes were cut,
    /// and is repeated whatever else is fed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Connect>, Refusal> {
        if let State::Refused(refusal) = self.state {
            return Err(refusal);
        }
        self.bytes.extend_from_slice(bytes);
        self.advance().inspect_err(|refusal| {
            self.state = State::Refused(*refusal);
            self.bytes = Vec::new();
        })
    }

    fn advance(&mut self) -> Result<Option<Connect>, Refusal> {
        let head = match self.state {
            State::Refused(refusal) => return Err(refusal),
            State::Payload(head) => head,
            State::Head => match Head::read(&self.bytes, self.max_packet_bytes)? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        let Some(packet) = self.bytes.get(..head.packet_bytes) else {
            self.state = State::Payload(head);
            return Ok(None);
        };
        let refusal = |malformed: Malformed| Refusal { malformed, version: Some(head.version) };
        let payload = Payload::read(packet, &head).map_err(refusal)?;
        self.state = State::Head;
        Ok(Some(Connect::new(std::mem::take(&mut self.bytes), head, payload)))
    }
}
