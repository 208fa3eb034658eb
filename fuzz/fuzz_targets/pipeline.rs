//! The packet pipeline on the host, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_ebpf::host::fuzz::run(input));
