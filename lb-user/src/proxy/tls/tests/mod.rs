mod brokers;
mod clients;
mod hellos;
pub(in crate::proxy) mod pki;
mod servers;
