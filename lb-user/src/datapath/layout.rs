//! The version of what is pinned.

use std::os::fd::{AsFd, OwnedFd};

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

use super::{
    StartError,
    pins::Pins,
    sys::{self, Shape},
};

const SHAPE: Shape = Shape {
    kind: BPF_MAP_TYPE_ARRAY as u32,
    key_bytes: size_of::<u32>() as u32,
    value_bytes: size_of::<u32>() as u32,
    entries: 1,
    flags: 0,
};

/// Whether something of the version `needed` is pinned; another version is refused, and `detach`
/// named as the command that removes it.
pub(super) fn is_there(pins: &Pins, needed: u32, detach: &'static str) -> Result<bool, StartError> {
    if !pins.any()? {
        return Ok(false);
    }
    match read(pins) {
        Some(found) if found == needed => Ok(true),
        found => Err(StartError::Layout {
            pin_dir: pins.root().to_owned(),
            found: found.map_or_else(|| "unknown".to_owned(), |version| version.to_string()),
            needed,
            detach,
        }),
    }
}

fn read(pins: &Pins) -> Option<u32> {
    let map = sys::open(&pins.layout()).ok()?;
    let mut version = 0u32;
    let key = 0u32;
    if sys::shape(map.as_fd()).ok()? != SHAPE {
        return None;
    }
    // SAFETY: keys and values have four bytes each.
    let found = unsafe { sys::lookup(map.as_fd(), &raw const key, &raw mut version) };
    found.ok()?.then_some(version)
}

/// Pins `version`, this build's: the first of all pins, so that none is ever without it.
pub(super) fn write(pins: &Pins, version: u32) -> Result<(), StartError> {
    let path = pins.layout();
    let made = || -> std::io::Result<OwnedFd> {
        let map = sys::create_map("LAYOUT", &SHAPE, None)?;
        let key = 0u32;
        // SAFETY: keys and values have four bytes each.
        unsafe { sys::update(map.as_fd(), &raw const key, &raw const version) }?;
        sys::pin(map.as_fd(), &path)?;
        Ok(map)
    };
    made().map(drop).map_err(|error| StartError::file("pin", &path, error))
}
