//! A configuration for tests.

use lb_common::hash::Seed;

use crate::config::{
    self,
    model::{Backend, Config, LoadLimits, Secret, Weight},
};

/// One service, `mqtt`, with the unchecked backends `b1` to `b3`, as in a file.
pub const UNCHECKED: &str = "
  - name: mqtt
    vip: 192.0.2.10
    port: 1883
    health: { type: none }
    backends:
      - { name: b1, address: 10.0.1.1, port: 1883 }
      - { name: b2, address: 10.0.1.2, port: 1883 }
      - { name: b3, address: 10.0.1.3, port: 1883 }
";

/// A configuration with [`UNCHECKED`].
#[must_use]
pub fn config() -> Config {
    let text = format!(
        "
interfaces: [{{ name: eth0 }}]
nat: {{ addresses: [10.0.0.2], ports: 15000-15999 }}
api: {{ metrics: 127.0.0.1:9090 }}
seed: 000102030405060708090a0b0c0d0e0f
services:{UNCHECKED}"
    );
    let config = config::parse(&text).unwrap();
    assert_ne!(config.seed, Some(Secret::new(Seed(1, 2))));
    config
}

/// A backend like those of [`config`].
#[must_use]
pub fn backend(number: u8) -> Backend {
    Backend {
        name: format!("b{number}").parse().unwrap(),
        address: [10, 0, 1, number].into(),
        port: 1883,
        weight: Weight::DEFAULT,
        limits: LoadLimits::default(),
    }
}
