//! The mode `mqtt`: connections that are handled in userspace, because deciding over them needs the
//! CONNECT.

pub mod choose;
