//! Pinned maps of the data plane, read from outside: their memory, and which ring is in place.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::MapData;

/// Memory of all maps that are pinned in this directory, in bytes.
pub fn memory_of_all(directory: &Path) -> Result<f64> {
    let mut bytes = 0.0;
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        bytes += memory_of(&open(&entry?.path())?)?;
    }
    Ok(bytes)
}

/// Bytes per entry of a map for which all memory is allocated when it is made.
pub fn bytes_per_entry(map: &MapData) -> Result<f64> {
    Ok(memory_of(map)? / f64::from(map.info()?.max_entries()))
}

/// Opens a pinned map.
pub fn open(path: &Path) -> Result<MapData> {
    MapData::from_pin(path).with_context(|| format!("open {}", path.display()))
}

/// Memory of a map as the kernel accounts for it, in bytes.
pub fn memory_of(map: &MapData) -> Result<f64> {
    let file = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    memlock(&text).with_context(|| format!("{file} names no memlock"))
}

fn memlock(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

/// The number of the map that lies at `index` of an array of maps; `None` if there is none.
pub fn inner_map(outer: &MapData, index: u32) -> Result<Option<u32>> {
    /// The beginning of union `bpf_attr` for the commands on elements.
    #[repr(C)]
    struct Element {
        map: u32,
        _padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

    let mut number = 0u32;
    let request = Element {
        map: outer.fd().as_fd().as_raw_fd().cast_unsigned(),
        _padding: 0,
        key: (&raw const index) as u64,
        value: (&raw mut number) as u64,
        flags: 0,
    };
    // SAFETY: `request` begins as the command's attributes do; keys of an array of maps have four
    // bytes, and so has what a look-up in it writes: the number of a map.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const request, size_of::<Element>())
    };
    if result == 0 {
        return Ok(Some(number));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        error => Err(error).context("look up an inner map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_map_is_a_line_of_its_description() {
        assert_eq!(memlock("pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t7\n"), Some(4096.0));
        assert_eq!(memlock("pos:\t0\n"), None);
    }
}
