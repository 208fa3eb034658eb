//! What a client and a broker say first, read in whatever pieces it comes: a byte, or megabytes.
//!
//! [`ConnectDecoder`] and [`ConnackDecoder`] are fed what has arrived and answer with the packet,
//! with a refusal, or that they need more. They are strict to the three standards, MQTT 3.1, 3.1.1
//! and 5.0, and take no memory for what has not arrived.
//!
//! Where the standards leave a choice:
//! - MQTT 3.1 disregards Will QoS and Will Retain without a will, and a user name or password whose
//!   flag is set may be missing at the end; both is accepted, for this version only. Bits it does
//!   not use must be zero as in later versions: no client of its time sets them.
//! - MQTT 3.1 wants Client Identifiers of at most 23 characters. Brokers take longer ones, so this
//!   is left to the broker.
//! - Variable byte integers in more bytes than needed are malformed in MQTT 5.0 only.
//! - Control characters and non-characters in strings, which the standards advise against, pass.

mod connack_decoder;
mod connect;
mod connect_decoder;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod head;
mod malformed;
mod payload;
mod rewrite;
#[cfg(any(test, feature = "fuzz"))]
mod vectors;

pub use connack_decoder::{Answer, AnswerError, AnswerPacket, ConnackDecoder};
pub use connect::Connect;
pub use connect_decoder::ConnectDecoder;
pub use malformed::{Malformed, Refusal};
pub use rewrite::{Rewrite, RewriteError};
