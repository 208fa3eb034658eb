//! Packets with what becomes of them, in `connect.txt` and `connack.txt`, and the tests over them.

#[cfg(test)]
mod connack;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod judge;
pub(super) mod notation;

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
