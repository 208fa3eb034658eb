//! Packets with what becomes of them, in `connect.txt` and `connack.txt`, and the tests over them.

mod connack;
mod connect;
mod judge;
mod notation;

/// A text in the words of the vectors: `id="a"`, or `id=i*100` for one long run of a character.
fn text(name: &str, text: &str) -> String {
    match text.chars().next() {
        Some(first) if text.len() > 24 && text.chars().all(|c| c == first) => {
            format!("{name}={first}*{}", text.len())
        }
        _ => format!("{name}={text:?}"),
    }
}
