//! The tables of source ports, one per peer, mapped into the controller's memory: to look at a
//! port, or to let it rest, costs no system call.

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::{
    BPF_F_MMAPABLE,
    bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS},
};
use lb_common::{layout::maps, port::Port};

use super::{
    StartError,
    mapped::Mapped,
    pins::{self, Pins},
    sys::{self, Shape},
};

/// What a table of `ports` source ports is made of.
pub(super) const fn shape(ports: u32) -> Shape {
    Shape {
        kind: BPF_MAP_TYPE_ARRAY as u32,
        key_bytes: size_of::<u32>() as u32,
        value_bytes: size_of::<Port>() as u32,
        entries: ports,
        flags: BPF_F_MMAPABLE,
    }
}

/// Makes the map of the tables of `ports` source ports of `peers` peers, and pins it at `path`.
///
/// Not left to aya, because the kernel asks that every inner map be like the example that the map was
/// made with. Only the configuration says how large that is. (It need not be as large with
/// `BPF_F_INNER_MAP`, but then every look-up is a function call in place of an inlined one.) And to
/// Linux 6.1 a map of structs that BTF describes is not like one that nothing describes.
pub fn pin_map(path: &Path, peers: u32, ports: u32) -> io::Result<()> {
    let outer = Shape {
        kind: BPF_MAP_TYPE_ARRAY_OF_MAPS as u32,
        key_bytes: size_of::<u32>() as u32,
        value_bytes: size_of::<u32>() as u32,
        entries: peers,
        flags: 0,
    };
    let example = sys::create_map("PORTS.inner", &shape(ports), None)?;
    let map = sys::create_map(maps::PORTS, &outer, Some(example.as_fd()))?;
    sys::pin(map.as_fd(), path)
}

/// The source ports of a peer.
#[derive(Debug)]
pub(super) struct PortTable(Mapped<Port>);

impl PortTable {
    /// Opens the pinned table of `peer`.
    pub(super) fn open(pins: &Pins, peer: u32, ports: u32) -> Result<Self, StartError> {
        let path = pins.ports_of(peer);
        let failed = |what| {
            let path = path.clone();
            move |source| StartError::File { what, path, source }
        };
        let fd = sys::open(&path).map_err(failed("open"))?;
        let found = sys::shape(fd.as_fd()).map_err(failed("examine"))?;
        if found != shape(ports) {
            return Err(StartError::Shape {
                map: format!("of peer {peer}'s source ports"),
                found: found.to_string(),
                needed: shape(ports).to_string(),
                setting: "nat.ports",
            });
        }
        Self::map(fd, ports).map_err(failed("map"))
    }

    /// Makes a table of `ports` source ports, all free.
    pub(super) fn create(ports: u32) -> io::Result<Self> {
        Self::map(sys::create_map("PORTS.inner", &shape(ports), None)?, ports)
    }

    /// A table in memory that no kernel map stands behind.
    #[cfg(test)]
    pub(super) fn in_memory(ports: u32) -> io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: the name ends with a zero; the call returns a new file descriptor or -1.
        let fd = unsafe { libc::memfd_create(c"ports".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new, and nobody else's.
        let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        file.set_len(u64::from(ports) * size_of::<Port>() as u64)?;
        Self::map(file.into(), ports)
    }

    /// Pins the table as that of `peer`, in the place of any other.
    pub(super) fn pin(&self, pins: &Pins, peer: u32) -> Result<(), StartError> {
        Self::unpin(pins, peer)?;
        let path = pins.ports_of(peer);
        sys::pin(self.fd(), &path).map_err(|error| StartError::file("pin", &path, error))
    }

    /// Removes the pin of `peer`'s table.
    pub(super) fn unpin(pins: &Pins, peer: u32) -> Result<(), StartError> {
        pins::remove(&pins.ports_of(peer))
    }

    /// `fd` must be a map of the shape [`shape`]`(ports)`.
    fn map(fd: OwnedFd, ports: u32) -> io::Result<Self> {
        Mapped::new(fd, ports as usize).map(Self)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }
}

impl Deref for PortTable {
    type Target = [Port];

    fn deref(&self) -> &[Port] {
        &self.0
    }
}
