//! Packets with what becomes of them, in text files, and the tests over them.

#[cfg(test)]
mod connack;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod judge;
pub(super) mod notation;

use notation::{Vector, parse};

/// First packets of clients.
pub(super) fn connect() -> Vec<Vector> {
    parse(concat!(
        include_str!("connect_valid.txt"),
        include_str!("connect_malformed.txt"),
        include_str!("connect_properties.txt"),
    ))
}

/// First packets of brokers.
pub(super) fn connack() -> Vec<Vector> {
    parse(include_str!("connack.txt"))
}

/// A text in the words of the vectors: `id="a"`, or `id=i*100` for one long run of a character.
#[cfg(test)]
fn text(name: &str, text: &str) -> String {
    match text.chars().next() {
        Some(first) if text.len() > 24 && text.chars().all(|c| c == first) => {
            format!("{name}={first}*{}", text.len())
        }
        _ => format!("{name}={text:?}"),
    }
}
