//! What version 2 says behind the addresses: Type-Length-Value (section 2.2 of the specification).

use super::v2::FIXED;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;

/// `PP2_CLIENT_SSL`: the client connected by TLS.
const CLIENT_SSL: u8 = 0x01;
/// `PP2_CLIENT_CERT_CONN`: it gave a certificate in this connection.
const CLIENT_CERT_CONN: u8 = 0x02;
/// `PP2_CLIENT_CERT_SESS`: it gave one in the TLS session that this connection belongs to.
const CLIENT_CERT_SESS: u8 = 0x04;

/// Bytes of the longest `UNIQUE_ID` (section 2.2.5).
const MAX_UNIQUE_ID: usize = 128;

/// What a header says besides addresses. Types that are not known are skipped, NOOP among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The protocol that was negotiated above TLS (section 2.2.1).
    pub alpn: Option<Vec<u8>>,
    /// The name of the host that the client asked for, the SNI (section 2.2.2).
    pub authority: Option<String>,
    /// The client's TLS (section 2.2.6); `None` if it came without.
    pub ssl: Option<Ssl>,
}

/// The client's TLS, as the proxy in front saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssl {
    /// The version, as in `TLSv1.3`.
    pub version: Option<String>,
    /// The Common Name of the client's certificate.
    pub common_name: Option<String>,
    /// Whether the client gave a certificate, in this connection or earlier in its TLS session.
    pub certificate: bool,
    /// Whether a certificate was given and verified: `verify` is 0.
    pub verified: bool,
}

/// TLVs that are malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// A value is longer than what is left.
    #[error("a TLV goes beyond the end of the header")]
    Truncated,
    /// A type that may be there once is there twice.
    #[error("TLV type {0:#04x} is there twice")]
    Twice(u8),
    /// A value of a wrong length.
    #[error("TLV type {0:#04x} has a wrong length")]
    Length(u8),
    /// A text that is no UTF-8.
    #[error("TLV type {0:#04x} is no UTF-8")]
    Text(u8),
    /// The header was changed on its way.
    #[error("the checksum of the header is wrong")]
    Checksum,
}

impl Tlvs {
    /// The TLVs of `header` from `start` on, its checksum verified if it has one.
    pub(super) fn decode(header: &[u8], start: usize) -> Result<Self, TlvError> {
        let mut tlvs = Self::default();
        let (mut ssl, mut checksum, mut unique_id) = (None, None, None);
        let mut at = start;
        for one in Values(&header[start..]) {
            let (kind, value) = one?;
            let value_at = at + 3;
            at = value_at + value.len();
            match kind {
                ALPN => once(&mut tlvs.alpn, kind, value.to_vec())?,
                AUTHORITY => once(&mut tlvs.authority, kind, text(kind, value)?)?,
                CRC32C if value.len() == 4 => once(&mut checksum, kind, value_at)?,
                // Nobody asks for it.
                UNIQUE_ID if value.len() <= MAX_UNIQUE_ID => once(&mut unique_id, kind, ())?,
                CRC32C | UNIQUE_ID => return Err(TlvError::Length(kind)),
                SSL => once(&mut ssl, kind, Ssl::decode(value)?)?,
                _ => {}
            }
        }
        tlvs.ssl = ssl.flatten();
        match checksum {
            Some(at) if checksum_of(header, at).to_be_bytes() != header[at..at + 4] => {
                Err(TlvError::Checksum)
            }
            _ => Ok(tlvs),
        }
    }

    /// Writes the TLVs. The caller refuses a header that becomes too long, so that no length is cut.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind, value: Option<&[u8]>| {
            if let Some(value) = value {
                put(out, kind, value);
            }
        };
        put(ALPN, self.alpn.as_deref());
        put(AUTHORITY, self.authority.as_ref().map(String::as_bytes));
        let ssl = self.ssl.as_ref().map(Ssl::encode);
        put(SSL, ssl.as_deref());
    }
}

impl Ssl {
    /// `None` if the client did not connect by TLS.
    fn decode(value: &[u8]) -> Result<Option<Self>, TlvError> {
        let Some((&[client, a, b, c, d], values)) = value.split_first_chunk::<5>() else {
            return Err(TlvError::Length(SSL));
        };
        let (mut version, mut common_name) = (None, None);
        for one in Values(values) {
            match one? {
                (SSL_VERSION, value) => {
                    once(&mut version, SSL_VERSION, text(SSL_VERSION, value)?)?;
                }
                (SSL_CN, value) => once(&mut common_name, SSL_CN, text(SSL_CN, value)?)?,
                _ => {}
            }
        }
        let certificate = client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0;
        // Zero also where no certificate was asked for, in some senders: only both together count.
        let verified = certificate && u32::from_be_bytes([a, b, c, d]) == 0;
        let ssl = Self { version, common_name, certificate, verified };
        Ok((client & CLIENT_SSL != 0).then_some(ssl))
    }

    fn encode(&self) -> Vec<u8> {
        let certificate = if self.certificate { CLIENT_CERT_CONN | CLIENT_CERT_SESS } else { 0 };
        let mut out = vec![CLIENT_SSL | certificate];
        out.extend(u32::from(!self.verified).to_be_bytes());
        let texts = [(SSL_VERSION, &self.version), (SSL_CN, &self.common_name)];
        for (kind, text) in texts {
            if let Some(text) = text {
                put(&mut out, kind, text.as_bytes());
            }
        }
        out
    }
}

/// The types and values in these bytes.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Result<(u8, &'a [u8]), TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some((&[kind, high, low], rest)) = bytes.split_first_chunk::<3>() else {
            return Some(Err(TlvError::Truncated));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return Some(Err(TlvError::Truncated));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}

fn once<T>(place: &mut Option<T>, kind: u8, value: T) -> Result<(), TlvError> {
    if place.replace(value).is_some() { Err(TlvError::Twice(kind)) } else { Ok(()) }
}

fn text(kind: u8, value: &[u8]) -> Result<String, TlvError> {
    String::from_utf8(value.to_vec()).map_err(|_| TlvError::Text(kind))
}

fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}

/// The CRC32C of `header` with four zeros at `at`, its own place (section 2.2.3).
fn checksum_of(header: &[u8], at: usize) -> u32 {
    debug_assert!(at >= FIXED);
    let before = crc32c::crc32c(&header[..at]);
    let zeros = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(zeros, &header[at + 4..])
}
