//! Writes captures of packets (pcapng, draft-ietf-opsawg-pcapng): what Wireshark, tshark and tcpdump
//! open.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Tells readers the byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;

/// Codes of options (sections 3.5, 4.1, 4.2 and 4.3).
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
const SHB_USERAPPL: u16 = 4;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    Inbound,
    /// It went out.
    Outbound,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When, in microseconds of Unix time.
    pub time_us: u64,
    /// The interface it was seen at.
    pub interface: &'a str,
    /// Which way it went there.
    pub direction: Direction,
    /// Bytes that it had.
    pub length: u32,
    /// Those of them that were caught: the first ones.
    pub bytes: &'a [u8],
    /// What people are to read beside it.
    pub comment: &'a str,
}

/// Writes one capture.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    interfaces: Vec<String>,
}

impl<W: Write> Writer<W> {
    /// Begins a capture made by `program`.
    pub fn begin(mut out: W, program: &str) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0.
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        // A section of unknown length.
        body.extend(u64::MAX.to_le_bytes());
        put_option(&mut body, SHB_USERAPPL, program.as_bytes());
        end_options(&mut body);
        write_block(&mut out, SECTION_HEADER, &body)?;
        out.flush()?;
        Ok(Self { out, interfaces: Vec::new() })
    }

    /// Adds a packet; when this returns, readers can see it.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let interface = self.interface(packet.interface)?;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        body.extend(((packet.time_us >> 32) as u32).to_le_bytes());
        body.extend((packet.time_us as u32).to_le_bytes());
        body.extend((packet.bytes.len() as u32).to_le_bytes());
        body.extend(packet.length.to_le_bytes());
        put_padded(&mut body, packet.bytes);
        put_option(&mut body, COMMENT, packet.comment.as_bytes());
        let direction: u32 = match packet.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        put_option(&mut body, EPB_FLAGS, &direction.to_le_bytes());
        end_options(&mut body);
        write_block(&mut self.out, ENHANCED_PACKET, &body)?;
        self.out.flush()
    }

    /// The number of an interface, which is described when it is first named.
    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.iter().position(|known| known == name) {
            return Ok(number as u32);
        }
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend([0; 2]);
        // No limit to the bytes of a packet.
        body.extend(0u32.to_le_bytes());
        put_option(&mut body, IF_NAME, name.as_bytes());
        end_options(&mut body);
        write_block(&mut self.out, INTERFACE_DESCRIPTION, &body)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// A block, whose length stands before and behind what is in it.
fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // The length is a 16-bit number; no reader is missing what is behind that.
    let value = &value[..value.len().min(u16::MAX.into())];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    put_padded(body, value);
}

fn end_options(body: &mut Vec<u8>) {
    put_option(body, END_OF_OPTIONS, &[]);
}

/// Everything begins at a multiple of four bytes.
fn put_padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(packets: &[Packet<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out, "mqlb").unwrap();
        for packet in packets {
            writer.packet(packet).unwrap();
        }
        out
    }

    const PACKET: Packet<'_> = Packet {
        time_us: 0x1_0000_0002,
        interface: "in:eth0",
        direction: Direction::Inbound,
        length: 60,
        bytes: &[1, 2, 3, 4, 5],
        comment: "verdict",
    };

    /// Kinds and bodies of the blocks.
    fn blocks(mut capture: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !capture.is_empty() {
            let length = word(&capture[4..]) as usize;
            let (block, rest) = capture.split_at(length);
            assert_eq!(word(&block[length - 4..]) as usize, length, "both lengths are the same");
            assert_eq!(length % 4, 0);
            blocks.push((word(block), &block[8..length - 4]));
            capture = rest;
        }
        blocks
    }

    #[test]
    fn a_section_says_the_byte_order_first() {
        let capture = capture(&[]);
        let expected = [
            &[0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..],
            &[0xff; 8],
            &[4, 0, 4, 0, b'm', b'q', b'l', b'b', 0, 0, 0, 0, 40, 0, 0, 0],
        ];
        assert_eq!(capture, expected.concat());
    }

    #[test]
    fn a_packet_has_its_time_lengths_bytes_and_comment() {
        let capture = capture(&[PACKET]);
        let (kind, body) = blocks(&capture)[2];
        let expected = [
            &[0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0][..],
            &[1, 2, 3, 4, 5, 0, 0, 0],
            &[1, 0, 7, 0, b'v', b'e', b'r', b'd', b'i', b'c', b't', 0],
            &[2, 0, 4, 0, 1, 0, 0, 0],
            &[0, 0, 0, 0],
        ];
        assert_eq!((kind, body), (ENHANCED_PACKET, expected.concat().as_slice()));
    }

    #[test]
    fn an_interface_is_described_once_before_its_first_packet() {
        let out = Packet { interface: "out:eth1", direction: Direction::Outbound, ..PACKET };
        let capture = capture(&[PACKET, out, PACKET]);
        let kinds: Vec<u32> = blocks(&capture).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION_HEADER, 1, 6, 1, 6, 6]);
        let numbers = blocks(&capture).into_iter().filter(|(kind, _)| *kind == 6);
        assert_eq!(numbers.map(|(_, body)| body[0]).collect::<Vec<_>>(), [0, 1, 0]);
    }
}
