//! Driver and offloads of an interface (the ioctls of ethtool, linux/ethtool.h).

use std::{
    collections::BTreeSet,
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
};

const GET_DRIVER_INFO: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_STRING_COUNTS: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
/// The set of strings that names the features.
const FEATURE_NAMES: u32 = 4;
const STRING_BYTES: usize = 32;
/// `struct ethtool_drvinfo`.
const DRIVER_INFO_BYTES: usize = 196;
/// There are about 60; what is above this is no count of features.
const MOST_FEATURES: usize = 4096;

/// The name of the driver, if the interface has one that tells.
pub(super) fn driver(interface: &str) -> Option<String> {
    let mut info = Request::new(DRIVER_INFO_BYTES);
    info.put(0, GET_DRIVER_INFO);
    info.send(interface).ok()?;
    let name = info.string(4);
    (!name.is_empty()).then_some(name)
}

/// The features that are switched on, by the kernel's names.
pub(super) fn switched_on(interface: &str) -> io::Result<BTreeSet<String>> {
    let names = feature_names(interface)?;
    // A header of two words, then for each 32 features four words: available, requested, active,
    // never changed.
    let blocks = names.len().div_ceil(32);
    let mut features = Request::new(8 + blocks * 16);
    features.put(0, GET_FEATURES);
    features.put(4, blocks as u32);
    features.send(interface)?;
    let active = |index: usize| {
        let word = features.word(8 + index / 32 * 16 + 8);
        word & (1 << (index % 32)) != 0
    };
    Ok((0..).zip(names).filter(|(index, _)| active(*index)).map(|(_, name)| name).collect())
}

fn feature_names(interface: &str) -> io::Result<Vec<String>> {
    // `struct ethtool_sset_info`: command, reserved, a mask of 64 bits, a count per bit.
    let mut counts = Request::new(20);
    counts.put(0, GET_STRING_COUNTS);
    counts.put(8, 1 << FEATURE_NAMES);
    counts.send(interface)?;
    let count = counts.word(16) as usize;
    if counts.word(8) == 0 || count > MOST_FEATURES {
        return Ok(Vec::new());
    }
    // `struct ethtool_gstrings`: command, set, count, the strings.
    let mut strings = Request::new(12 + count * STRING_BYTES);
    strings.put(0, GET_STRINGS);
    strings.put(4, FEATURE_NAMES);
    strings.put(8, count as u32);
    strings.send(interface)?;
    Ok((0..count).map(|index| strings.string(12 + index * STRING_BYTES)).collect())
}

/// A structure of ethtool's: words and strings at fixed places. The kernel answers in it.
struct Request(Vec<u32>);

impl Request {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(4)])
    }

    fn put(&mut self, offset: usize, value: u32) {
        self.0[offset / 4] = value;
    }

    fn word(&self, offset: usize) -> u32 {
        self.0[offset / 4]
    }

    fn string(&self, offset: usize) -> String {
        let words = &self.0[offset / 4..][..STRING_BYTES / 4];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// How much the kernel writes follows from what was put in: callers make room for that.
    fn send(&mut self, interface: &str) -> io::Result<()> {
        // Any socket of the network namespace does.
        let socket = UnixDatagram::unbound()?;
        // SAFETY: integers, and a union of integers and pointers: zero is a value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero: the name is a C string.
        let room = request.ifr_name.len() - 1;
        if interface.len() > room {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (target, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *target = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = self.0.as_mut_ptr().cast();
        // SAFETY: `request` and what it points to live until the call returns; the kernel writes
        // no more than the counts in the structure say, for which there is room.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_joins_segments() {
        let features = switched_on("lo").unwrap();
        assert!(features.contains("rx-gro"), "{features:?}");
        assert!(!features.contains("rx-lro"), "{features:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(switched_on("no-such-device").is_err());
        assert!(driver("a-name-that-is-far-too-long").is_none());
    }
}
