//! Reads the server's name from a `ClientHello` and leaves it as it is, to pass TLS through to a broker.
//!
//! A strict, small reader (RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3): rustls refuses clients that it could not serve itself, but a broker might.

use std::collections::HashSet;

/// The most bytes that a `ClientHello` is waited for, records included. Browsers with post-quantum keys
/// send about 2 KiB.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// What a `ClientHello` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name (SNI), lower case; `None` if it names none.
    pub server_name: Option<String>,
}

/// Bytes that are no `ClientHello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The first bytes are no record of a TLS handshake.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The first message of the handshake is another.
    #[error("the first message of the TLS handshake is no ClientHello")]
    NotHello,
    /// It is longer than [`MAX_HELLO_BYTES`].
    #[error("a ClientHello of more than {MAX_HELLO_BYTES} bytes")]
    TooLong,
    /// Its lengths contradict each other, or its name is none.
    #[error("a malformed ClientHello")]
    Malformed,
}

const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The most bytes of a record's content (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;

/// Puts a `ClientHello` together from the bytes that come, each of which it looks at once.
#[derive(Debug, Default)]
pub struct HelloReader {
    bytes: Vec<u8>,
    /// The handshake's first message, as far as it has come, without its records.
    message: Vec<u8>,
    /// So many of `bytes` have been looked at.
    read: usize,
    /// So many bytes the current record still has.
    left: usize,
}

impl HelloError {
    /// The alert that the client is answered with (RFC 8446, section 6.2); `None` for one that speaks
    /// no TLS.
    #[must_use]
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::NotTls => None,
            Self::NotHello => Some(UNEXPECTED_MESSAGE),
            Self::TooLong | Self::Malformed => Some(DECODE_ERROR),
        }
    }
}

impl HelloReader {
    /// Takes what has come next; the `ClientHello` once it is whole.
    ///
    /// # Errors
    ///
    /// As soon as it can be none any more. Nothing may be fed after that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
        self.bytes.extend_from_slice(bytes);
        loop {
            if self.left == 0 && !self.begin_record()? {
                break;
            }
            let unread = &self.bytes[self.read..];
            let content = &unread[..unread.len().min(self.left)];
            if content.is_empty() {
                break;
            }
            self.message.extend_from_slice(content);
            self.read += content.len();
            self.left -= content.len();
            if let Some(body) = body(&self.message)? {
                // It ends with its record (RFC 8446, section 5.1): a broker waits for the rest of one.
                let aligned = self.left == 0 && self.message.len() == 4 + body.len();
                let hello = hello(body).filter(|_| aligned);
                return hello.map(Some).ok_or(HelloError::Malformed);
            }
        }
        let full = self.bytes.len() >= MAX_HELLO_BYTES;
        if full { Err(HelloError::TooLong) } else { Ok(None) }
    }

    /// The `ClientHello` with its records, to be passed on, and what came behind it: early data, which
    /// only the broker may see that answers (RFC 8446, section 8).
    #[must_use]
    pub fn into_parts(mut self) -> (Vec<u8>, Vec<u8>) {
        let behind = self.bytes.split_off(self.read);
        (self.bytes, behind)
    }

    /// How much memory that takes.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.message.capacity()
    }

    /// Reads the header of a record; whether there is one yet.
    fn begin_record(&mut self) -> Result<bool, HelloError> {
        let unread = &self.bytes[self.read..];
        let Some(&[kind, major, _, high, low]) = unread.first_chunk::<5>() else {
            let begins = unread.iter().zip([HANDSHAKE, 3]).all(|(byte, want)| *byte == want);
            return if begins { Ok(false) } else { Err(HelloError::NotTls) };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // An empty record could be repeated for ever.
        if kind != HANDSHAKE || major != 3 || length == 0 || length > MAX_RECORD {
            return Err(HelloError::NotTls);
        }
        self.read += 5;
        self.left = length;
        Ok(true)
    }
}

/// The body of the message, once it is whole.
fn body(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::NotHello);
    }
    let Some((&[_, a, b, c], body)) = message.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > MAX_HELLO_BYTES {
        return Err(HelloError::TooLong);
    }
    Ok(body.get(..length))
}

fn hello(body: &[u8]) -> Option<Hello> {
    let mut reader = Reader(body);
    // Version and random.
    reader.take(2 + 32)?;
    let _session = reader.vector8()?;
    let ciphers = reader.vector16()?;
    let compressions = reader.vector8()?;
    if ciphers.is_empty() || ciphers.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    let mut hello = Hello::default();
    // Without extensions nothing follows at all (RFC 5246, section 7.4.1.2).
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    let mut seen = HashSet::new();
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.u16()?, extensions.vector16()?);
        // There may be thousands of them.
        if !seen.insert(kind) {
            return None;
        }
        if kind == SERVER_NAME {
            hello.server_name = Some(server_name(value)?);
        }
    }
    reader.0.is_empty().then_some(hello)
}

/// The host's name: one, in ASCII, without a dot at its end (RFC 6066, section 3).
fn server_name(value: &[u8]) -> Option<String> {
    let mut extension = Reader(value);
    let mut names = Reader(extension.vector16()?);
    let kind = names.take(1)?;
    let name = names.vector16()?;
    let label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = kind == [HOST_NAME]
        && names.0.is_empty()
        && extension.0.is_empty()
        && (1..=253).contains(&name.len())
        && name.iter().all(label)
        && !name.ends_with(b".");
    let text = std::str::from_utf8(name).ok()?;
    good.then(|| text.to_ascii_lowercase())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A vector with its length in one byte.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        self.take(length)
    }

    /// A vector with its length in two bytes.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}
