//! The world that the pipeline runs in as an XDP program: nothing else names `aya_ebpf`.

pub mod fib;
pub mod frame;
pub mod maps;
pub mod packet_log;
pub mod tables;
pub mod trace;
