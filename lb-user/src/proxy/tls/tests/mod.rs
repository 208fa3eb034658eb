mod brokers;
mod clients;
mod hellos;
mod pki;
mod servers;
