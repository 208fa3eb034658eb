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

/// A table that is being turned into bytes, some entries at a time: nobody waits for all of them.
///
/// What changes meanwhile may be in it as it was or as it is, and a client that is forgotten and comes
/// again may be missing: whoever takes one again after changes has everything.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The slot that is looked at next.
    next: u32,
    brokers: Vec<Box<str>>,
    numbers: BTreeMap<Box<str>, u16>,
    /// Entries as they are written, in the order of their slots.
    entries: Vec<u8>,
    places: Vec<Place>,
    /// Uses of the table when the first entries were taken.
    began: Option<u32>,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Uses of the table when it was used last, since those of [`Snapshot::began`].
    used: i32,
    start: usize,
    end: usize,
}

impl Snapshot {
    /// Takes up to `most` slots of `table`, and forgets what has ended by `now` there; whether there
    /// are more.
    pub fn take(&mut self, table: &mut Sticky, most: u32, now: u32) -> bool {
        let began = *self.began.get_or_insert(table.recency.uses());
        let end = table.recency.slots().min(self.next.saturating_add(most));
        for slot in std::mem::replace(&mut self.next, end)..end {
            let Some(entry) = table.recency.get(slot) else { continue };
            if entry.until.0 <= now {
                table.remove(slot);
                continue;
            }
            let start = self.entries.len();
            let broker = self.number(table.brokers.name(entry.broker));
            put_text(&mut self.entries, &entry.client_id);
            self.entries.extend(broker.to_be_bytes());
            self.entries.extend(entry.lifetime.0.to_be_bytes());
            self.entries.extend(entry.until.0.to_be_bytes());
            let used = entry.used.wrapping_sub(began).cast_signed();
            self.places.push(Place { used, start, end: self.entries.len() });
        }
        end < table.recency.slots()
    }

    fn number(&mut self, broker: &str) -> u16 {
        if let Some(number) = self.numbers.get(broker) {
            return *number;
        }
        let number = u16::try_from(self.brokers.len()).unwrap_or(u16::MAX);
        self.brokers.push(broker.into());
        self.numbers.insert(broker.into(), number);
        number
    }

    /// All of it, in time proportional to the table.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let names: usize = self.brokers.iter().map(|name| 2 + name.len()).sum();
        let mut out = Vec::with_capacity(MAGIC.len() + names + self.entries.len() + 12);
        out.extend(MAGIC);
        out.extend((self.brokers.len() as u32).to_be_bytes());
        for name in &self.brokers {
            put_text(&mut out, name);
        }
        out.extend((self.places.len() as u32).to_be_bytes());
        self.places.sort_unstable_by_key(|place| place.used);
        for Place { start, end, .. } in self.places {
            out.extend(&self.entries[start..end]);
        }
        out.extend(crc32c::crc32c(&out).to_be_bytes());
        out
    }
}

impl Sticky {
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
            if until.0 > now {
                // A table that changed while it was taken may have it twice: the last counts.
                if let Some(slot) = self.find(client_id) {
                    self.remove(slot);
                }
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
