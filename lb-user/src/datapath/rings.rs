//! Rings: replaced as a whole, pinned, and read back.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::ring::Ring;

use super::{
    pins::{self, Pins},
    sys::{self, Shape},
    tables::Tables,
};
use crate::control::datapath::DatapathError;

const SHAPE: Shape = Shape {
    kind: BPF_MAP_TYPE_ARRAY as u32,
    key_bytes: size_of::<u32>() as u32,
    value_bytes: size_of::<Ring>() as u32,
    entries: 1,
    flags: 0,
};

/// A ring is never edited: a new one takes the place of the old one in one pointer swap, and the
/// kernel returns when no packet is under way on the old one any more.
///
/// It is pinned beside the one before it first, and in its place after the swap: a controller that
/// takes over finds the one that is in use, whatever happened in between.
pub(super) fn put(
    tables: &Tables,
    pins: &Pins,
    service: u32,
    ring: &Ring,
) -> Result<(), DatapathError> {
    let failed = |what: &str, error| tables.rings.error(format!("{what} ring {service}"), error);
    let map = filled(ring).map_err(|error| failed("make", error))?;
    let next = pins.next_ring(service);
    let pin = || {
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sys::pin(map.as_fd(), &next)
    };
    pin().map_err(|error| failed("pin", error))?;
    tables.rings.put(&service, &map.as_raw_fd().cast_unsigned())?;
    fs::rename(&next, pins.ring(service)).map_err(|error| failed("pin", error))
}

fn filled(ring: &Ring) -> io::Result<OwnedFd> {
    let map = sys::create_map("RINGS.inner", &SHAPE, None)?;
    let only = 0u32;
    // SAFETY: the map was made with keys and values of these sizes.
    unsafe { sys::update(map.as_fd(), &raw const only, &raw const *ring) }?;
    Ok(map)
}

/// Removes the ring of a service.
pub(super) fn remove(tables: &Tables, pins: &Pins, service: u32) -> Result<(), DatapathError> {
    tables.rings.remove(&service)?;
    for path in [pins.ring(service), pins.next_ring(service)] {
        pins::remove(&path).map_err(|error| DatapathError::Refused(error.to_string()))?;
    }
    Ok(())
}

/// The ring of a service as packets see it; `None` if it has none.
pub(super) fn read(
    tables: &Tables,
    pins: &Pins,
    service: u32,
) -> Result<Option<Box<Ring>>, DatapathError> {
    // What the kernel tells of a map in a map is its id.
    let Some(id) = tables.rings.get(&service)? else { return Ok(None) };
    let find = || -> io::Result<Option<Box<Ring>>> {
        for path in [pins.ring(service), pins.next_ring(service)] {
            let map = match sys::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if sys::map_id(map.as_fd())? == id && sys::shape(map.as_fd())? == SHAPE {
                return contents(&map).map(Some);
            }
        }
        Ok(None)
    };
    find().map_err(|error| tables.rings.error(format!("read ring {service}"), error))
}

fn contents(map: &OwnedFd) -> io::Result<Box<Ring>> {
    let only = 0u32;
    let mut ring = Box::<Ring>::new_uninit();
    // SAFETY: the map has the shape of a ring: keys and values have these sizes.
    let found = unsafe { sys::lookup(map.as_fd(), &raw const only, ring.as_mut_ptr()) }?;
    if !found {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the kernel has written the whole value, and any bytes are a ring.
    Ok(unsafe { ring.assume_init() })
}
