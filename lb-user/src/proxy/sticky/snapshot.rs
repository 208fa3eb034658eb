//! A table as bytes.
//!
//! `mqlb-sticky-1` and a line feed; the brokers: their number, then the length and name of each; the
//! entries, the last used at the end: their number, then of each the length and the Client
//! Identifier, the number of the broker, its lifetime and its end in seconds; the CRC32C of all that.
//! Numbers of 32 bits, lengths and brokers of 16, big-endian.

use std::collections::BTreeMap;

use super::{Lifetime, Limits, Sticky, Until};

const MAGIC: &[u8] = b"mqlb-sticky-1\n";

/// Bytes that are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It begins otherwise.
    #[error("it was not written by this version of mqlb")]
    Magic,
    /// The checksum is wrong, or there is none.
    #[error("its checksum is wrong: it was cut off or changed")]
    Checksum,
    /// The checksum is right, and what it covers makes no sense.
    #[error("it is malformed")]
    Malformed,
}

impl Sticky {
    /// The table as bytes, in time proportional to it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.id_bytes + 12 * self.len() + 4096);
        out.extend(MAGIC);
        let names: Vec<&str> = self.brokers().map(|(name, _)| name).collect();
        let numbers: BTreeMap<&str, u16> = names.iter().copied().zip(0..).collect();
        out.extend((names.len() as u32).to_be_bytes());
        for name in names {
            put_text(&mut out, name);
        }
        out.extend((self.len() as u32).to_be_bytes());
        for entry in self.recency.oldest_first() {
            put_text(&mut out, &entry.client_id);
            let broker = numbers.get(self.brokers.name(entry.broker)).copied().unwrap_or_default();
            out.extend(broker.to_be_bytes());
            out.extend(entry.lifetime.0.to_be_bytes());
            out.extend(entry.until.0.to_be_bytes());
        }
        out.extend(crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// The table in `bytes`. A connection that was open then has ended by `now`; what has ended before
    /// is left out, and so are the longest unused where `limits` have become narrower.
    pub fn from_bytes(bytes: &[u8], limits: Limits, now: u32) -> Result<Self, SnapshotError> {
        if !bytes.starts_with(MAGIC) {
            return Err(SnapshotError::Magic);
        }
        let (whole, checksum) = bytes.split_last_chunk::<4>().ok_or(SnapshotError::Checksum)?;
        if crc32c::crc32c(whole).to_be_bytes() != *checksum {
            return Err(SnapshotError::Checksum);
        }
        let mut table = Self::new(limits);
        let body = whole.get(MAGIC.len()..).ok_or(SnapshotError::Checksum)?;
        table.restore(&mut Reader(body), now).ok_or(SnapshotError::Malformed)?;
        table.evicted = 0;
        Ok(table)
    }

    fn restore(&mut self, reader: &mut Reader<'_>, now: u32) -> Option<()> {
        let brokers = reader.u32()?;
        let names: Vec<&str> = (0..brokers).map(|_| reader.text()).collect::<Option<_>>()?;
        for _ in 0..reader.u32()? {
            let client_id = reader.text()?;
            let broker = names.get(usize::from(reader.u16()?))?;
            let lifetime = Lifetime(reader.u32()?);
            let until = match Until(reader.u32()?) {
                Until::OPEN => Until::closed(now, lifetime),
                until => until,
            };
            if until.0 > now && self.find(client_id).is_none() {
                self.insert(client_id, broker, lifetime, until);
            }
        }
        reader.0.is_empty().then_some(())
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // A Client Identifier has at most 65,535 bytes, and so has a name here.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes().iter().take(usize::from(length)));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
