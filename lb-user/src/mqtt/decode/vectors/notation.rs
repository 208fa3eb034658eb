//! The notation of the vectors: a line with the name, the bytes, and what is expected.
//!
//! ```text
//! == the name of the vector
//! 10 ( {"MQTT"} 04 02 001e {"me"} )
//! -> accept ...
//! mqtt-proto refuses: why another codec disagrees
//! ```
//!
//! Bytes are hexadecimal digits in pairs, or text in quotes; a number of times with `*`. Braces
//! stand for a field behind its length in two bytes, parentheses for one behind a variable byte
//! integer. Lengths that lie are written out. `#` begins a comment.

/// A packet and what is expected of it.
#[derive(Clone, Debug, Default)]
pub struct Vector {
    pub name: String,
    pub bytes: Vec<u8>,
    /// What follows the arrow.
    pub expected: String,
    /// What other software makes of it where that is something else: its name, and what follows.
    pub others: Vec<(String, String)>,
}

#[cfg(test)]
impl Vector {
    /// What the software of that name makes of it where that is something else.
    #[must_use]
    pub fn said_by(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(other, _)| other == name).map(|(_, said)| said.as_str())
    }
}

/// The vectors of a file.
pub fn parse(text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            vectors.push(Vector { name: name.into(), ..Vector::default() });
            continue;
        }
        let vector = vectors.last_mut().expect("a vector begins with its name");
        if let Some(expected) = line.strip_prefix("-> ") {
            vector.expected = expected.into();
        } else if let Some((name, said)) = other(line) {
            vector.others.push((name.into(), said.into()));
        } else {
            vector.bytes.extend(bytes(line));
        }
    }
    vectors
}

/// The name of other software, which has a hyphen as no bytes have, and what is said of it.
fn other(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ').filter(|(name, _)| name.contains('-'))
}

/// The bytes that a line in the notation stands for.
pub fn bytes(line: &str) -> Vec<u8> {
    let mut open: Vec<(char, Vec<u8>)> = vec![('\0', Vec::new())];
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, behind) = match first {
            '"' => rest[1..].split_once('"').expect("closing quotes"),
            '{' | '(' | '}' | ')' => rest.split_at(1),
            _ => rest.split_at(rest.find(|c: char| " {}()\"*".contains(c)).unwrap_or(rest.len())),
        };
        match first {
            '{' | '(' => open.push((first, Vec::new())),
            '}' | ')' => {
                let (bracket, field) = open.pop().expect("an opening bracket");
                let into = &mut open.last_mut().expect("an opening bracket").1;
                close(bracket, &field, into);
            }
            '*' => panic!("nothing to repeat in {line}"),
            _ => {
                let unit = if first == '"' { token.as_bytes().to_vec() } else { hex(token) };
                let (times, behind) = times(behind);
                open.last_mut().expect("the line itself").1.extend(unit.repeat(times));
                rest = behind.trim_start();
                continue;
            }
        }
        rest = behind.trim_start();
    }
    let (outermost, bytes) = open.pop().expect("the line itself");
    assert_eq!(outermost, '\0', "a bracket is not closed in {line}");
    bytes
}

/// `*` and a number at the front.
fn times(text: &str) -> (usize, &str) {
    let Some(text) = text.strip_prefix('*') else { return (1, text) };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().expect("a number of times"), &text[end..])
}

fn close(bracket: char, field: &[u8], into: &mut Vec<u8>) {
    let mut length = field.len();
    if bracket == '{' {
        into.extend(u16::try_from(length).expect("at most 65535 bytes").to_be_bytes());
    } else {
        // Written anew, so that the encoder is not its own judge.
        while length >= 128 {
            into.push((length % 128) as u8 | 128);
            length /= 128;
        }
        into.push(length as u8);
    }
    into.extend(field);
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "an odd number of digits: {digits}");
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn the_notation_says_what_it_looks_like() {
        assert_eq!(bytes(r#"10 0004"MQTT" 04"#), b"\x10\0\x04MQTT\x04");
        assert_eq!(bytes(r#"( {"a"} 61*3 ) "b"*2"#), b"\x06\0\x01aaaabb");
        let long = bytes("(00*128)");
        assert_eq!((&long[..2], long.len()), (&[0x80, 0x01][..], 130));
    }
}
