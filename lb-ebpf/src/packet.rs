//! Access to the bytes of one frame.

/// A frame in memory, from its Ethernet header on.
///
/// Offsets are constants at every place of use, so that the verifier sees one bounds check per
/// header and no variable packet pointer.
pub trait Packet {
    /// Length of the whole frame in bytes.
    fn len(&self) -> usize;

    /// The `N` bytes at `offset`, or `None` if the frame ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Writes `bytes` at `offset`; `None`, and nothing written, if the frame ends before.
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()>;

    /// Cuts the frame to `len` bytes; `None` if that is not possible.
    fn truncate(&mut self, len: usize) -> Option<()>;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
