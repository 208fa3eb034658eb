//! The decoders of CONNECT and CONNACK, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_user::mqtt::decode::fuzz::run(input));
