//! The sizes of the kernel's objects.

use std::fs;

use anyhow::{Context as _, Result, ensure};

/// Bytes of one object of each of these kinds, together. Kinds that this kernel keeps under another
/// name count as nothing, except for the first.
pub fn object_bytes(kinds: &[&str]) -> Result<f64> {
    let text = fs::read_to_string("/proc/slabinfo").context("read /proc/slabinfo")?;
    let sizes: Vec<u32> = kinds.iter().map(|kind| size(&text, kind)).collect();
    ensure!(sizes.first() != Some(&0), "the kernel lists no objects {kinds:?}");
    Ok(sizes.iter().sum::<u32>().into())
}

/// The columns are name, objects in use, objects, bytes of an object, and others.
fn size(text: &str, kind: &str) -> u32 {
    let found = text.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        (columns.next()? == kind).then(|| columns.nth(2)?.parse().ok())?
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_object_stands_behind_its_name_and_counts() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                    TCPv6 0 0 2560 12 8 : tunables\nTCP 26 26 2368 13 8 : tunables 0 0 0\n";
        assert_eq!(size(text, "TCP"), 2368);
        assert_eq!(size(text, "UDP"), 0);
    }
}
