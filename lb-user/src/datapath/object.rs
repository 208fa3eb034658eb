//! The XDP program, built into this binary.

use aya::include_bytes_aligned;

/// The ELF object that `cargo xtask build-ebpf` made of `lb-ebpf` (the build script knows where).
pub(super) const OBJECT: &[u8] = include_bytes_aligned!(env!("MQLB_XDP_OBJECT"));

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "mqlb";

/// Name of the one that tells of packets.
pub(super) const TRACE_PROGRAM: &str = "mqlb_trace";

/// The read-only global that, set at load, makes the program log every packet.
pub(super) const LOG_PACKETS: &str = "LOG_PACKETS";
