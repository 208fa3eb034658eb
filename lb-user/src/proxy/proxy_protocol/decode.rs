//! Reading a header, byte by byte if need be.

use super::{Header, MAX_HEADER_BYTES, TlvError, v1, v2};

/// How far reading has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The header is incomplete.
    Incomplete {
        /// The fewest bytes that are missing, at least 1. Whoever reads no more at a time never
        /// reads past the header, so that what follows stays in the socket.
        missing: usize,
    },
    /// The header is complete.
    Complete {
        /// What it tells.
        header: Header,
        /// Its length in bytes; what lies behind is the client's.
        length: usize,
    },
}

/// Bytes that are no PROXY protocol header. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version begins like that.
    #[error("no PROXY protocol header at the start of the connection")]
    Signature,
    /// Version 1: no CRLF in the first 107 bytes.
    #[error("a PROXY protocol line of more than 107 bytes")]
    LineTooLong,
    /// Version 1: CR without LF, or LF without CR.
    #[error("a PROXY protocol line that does not end with CR LF")]
    LineEnd,
    /// Version 1: neither TCP4, TCP6 nor UNKNOWN.
    #[error("a PROXY protocol line with an unknown protocol")]
    Protocol,
    /// Version 1: an address that is none, or not of the family that was named.
    #[error("a PROXY protocol line with a wrong address")]
    Address,
    /// Version 1: a port that is no number of 0 to 65535 without heading zeros.
    #[error("a PROXY protocol line with a wrong port")]
    Port,
    /// Version 1: more or fewer fields than two addresses and two ports, or other separators.
    #[error("a PROXY protocol line with a wrong number of fields")]
    Fields,
    /// Version 2: another version or command in byte 13.
    #[error("PROXY protocol version and command {0:#04x}")]
    Command(u8),
    /// Version 2: another family or protocol in byte 14.
    #[error("PROXY protocol family and protocol {0:#04x}")]
    Family(u8),
    /// Version 2: a length that leaves no room for the addresses of the family.
    #[error("a PROXY protocol header of {0} bytes, too few for its addresses")]
    TooShort(usize),
    /// Version 2: longer than [`MAX_HEADER_BYTES`].
    #[error("a PROXY protocol header of {0} bytes; the limit is {MAX_HEADER_BYTES}")]
    TooLong(usize),
    /// Version 2: malformed TLVs.
    #[error("PROXY protocol: {0}")]
    Tlv(#[from] TlvError),
}

/// Reads the header at the start of `bytes`. What can be seen to be wrong is refused at once, not only
/// when all is there.
pub fn decode(bytes: &[u8]) -> Result<Decoded, ProxyError> {
    match bytes.first() {
        None => Ok(Decoded::Incomplete { missing: v1::SHORTEST }),
        Some(b'P') => v1::decode(bytes),
        Some(_) => v2::decode(bytes),
    }
}

/// Whether `bytes` begin like `signature`, as far as both go.
pub(super) fn check_signature(bytes: &[u8], signature: &[u8]) -> Result<(), ProxyError> {
    let common = bytes.len().min(signature.len());
    if bytes[..common] == signature[..common] { Ok(()) } else { Err(ProxyError::Signature) }
}
