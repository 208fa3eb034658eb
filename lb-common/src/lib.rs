//! The types that both planes of mqlb share: what the XDP program reads from its maps is what the
//! controller wrote there.
//!
//! Conventions, valid for every type here:
//! - `#[repr(C)]`, explicit padding that is always zero, and a `const` assertion of the size;
//! - values that appear on the wire (addresses, ports) stay big-endian byte arrays;
//! - no `bool`, no `Option`, no enum with a payload: the kernel copies these bytes as they are;
//! - IPv4 addresses are held in their IPv4-mapped IPv6 form (RFC 4291, section 2.5.5.2).
//!
//! Any change of layout or meaning must raise [`layout::VERSION`].
#![no_std]
#[cfg(target_endian = "big")]
compile_error!("mqlb supports little-endian machines only: shared words are read by both planes");

pub mod addr;
pub mod affinity;
pub mod atomic;
pub mod backend;
pub mod counters;
pub mod decap;
pub mod flow;
pub mod hash;
#[cfg(feature = "interleave")]
pub mod interleave;
pub mod layout;
pub mod port;
pub mod replay;
pub mod ring;
pub mod service;
pub mod settings;
pub mod ticks;
pub mod trace;
pub mod tunnel;
pub mod verdict;

/// Asserts the size of a shared type at compile time and, for the control plane, marks it as plain
/// data for the map system calls.
macro_rules! shared_type {
    ($name:ty, $size:expr) => {
        const _: () = assert!(size_of::<$name>() == $size, "shared type changed its size");
        // SAFETY: the type is `Copy + 'static`, `#[repr(C)]`, has only integers and arrays of
        // integers as fields, and no padding the compiler chose (every pad is a named field; the
        // assertion above would fail otherwise).
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}
pub(crate) use shared_type;
