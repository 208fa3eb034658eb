//! The `bpf` system calls that aya does not offer, or not without a copy on the stack.

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info};

/// What a map is made of, as the kernel compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// A `bpf_map_type`.
    pub kind: u32,
    pub key_bytes: u32,
    pub value_bytes: u32,
    pub entries: u32,
    /// Bits of `BPF_F_*`.
    pub flags: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, key_bytes, value_bytes, entries, flags } = self;
        write!(
            f,
            "{entries} entries of {key_bytes} + {value_bytes} bytes (type {kind}, flags {flags:#x})"
        )
    }
}

pub(super) fn zeroed_attr() -> bpf_attr {
    // SAFETY: a union of structs of integers, for all of which zero is a value.
    unsafe { mem::zeroed() }
}

/// The `bpf` system call; returns what the kernel returned if that is no error.
///
/// # Safety
///
/// Every address in `attr` that `command` reads or writes through must be valid for the number of
/// bytes that `command` and the map in question ask for, until the call returns.
pub(super) unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: `attr` is valid for its size; what it points to is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            ptr::from_mut(attr),
            size_of::<bpf_attr>() as libc::c_ulong,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

/// Like [`bpf`], for commands that return a new file descriptor.
///
/// # Safety
///
/// As for [`bpf`], and `command` returns a file descriptor that nobody else owns.
unsafe fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: a new file descriptor, by the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Makes a map; `inner` is an example of the maps it is to hold, if it holds maps.
pub(super) fn create_map(
    name: &str,
    shape: &Shape,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: a field of integers; the rest of the union stays zero.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = shape.kind;
    create.key_size = shape.key_bytes;
    create.value_size = shape.value_bytes;
    create.max_entries = shape.entries;
    create.map_flags = shape.flags;
    create.inner_map_fd = inner.map_or(0, raw);
    let longest = create.map_name.len() - 1;
    for (to, from) in create.map_name.iter_mut().zip(name.bytes().take(longest)) {
        *to = from.cast_signed() as _;
    }
    // SAFETY: the command reads no address from `attr`, and returns a new file descriptor.
    unsafe { bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins a map, program or link; fails if the path exists.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = zeroed_attr();
    // SAFETY: a field of integers; the rest of the union stays zero.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = raw(object);
    // SAFETY: `path` ends with a zero and lives until the end of this function.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: `path` ends with a zero and lives until the end of this function; the command
    // returns a new file descriptor.
    unsafe { bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// Reads the kernel's description of a BPF object.
///
/// # Safety
///
/// `T` must be a struct of integers only, such that any bytes are a value.
unsafe fn info<T>(object: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: integers only, by the caller's promise.
    let mut info: T = unsafe { mem::zeroed() };
    let mut attr = zeroed_attr();
    attr.info.bpf_fd = raw(object);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = ptr::from_mut(&mut info) as u64;
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which has as many.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// What the map is made of.
pub(super) fn shape(map: BorrowedFd<'_>) -> io::Result<Shape> {
    // SAFETY: a struct of integers.
    let info: bpf_map_info = unsafe { info(map) }?;
    Ok(Shape {
        kind: info.type_,
        key_bytes: info.key_size,
        value_bytes: info.value_size,
        entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// The kernel's number of a map.
pub(super) fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: a struct of integers.
    let info: bpf_map_info = unsafe { info(map) }?;
    Ok(info.id)
}

/// The index of the interface that an XDP link is attached to; 0 if the interface is gone.
pub(super) fn link_interface(link: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: a struct of integers and a union of structs of integers.
    let info: bpf_link_info = unsafe { info(link) }?;
    // SAFETY: any bytes are a value; the kernel fills in this one for an XDP link.
    Ok(unsafe { info.__bindgen_anon_1.xdp }.ifindex)
}

/// Takes the program of a link off its interface before it returns; closing or unpinning a link does
/// it some time later.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.link_detach.link_fd = raw(link);
    // SAFETY: the command reads no address from `attr`.
    unsafe { bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// Puts `program` in the place of the one that a link holds.
pub(super) fn exchange(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.link_update.link_fd = raw(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = raw(program);
    // SAFETY: the command reads no address from `attr`.
    unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Writes one value into a map; it is read in place, however large it is.
///
/// # Safety
///
/// `key` must be valid for reads of the map's key size, `value` for reads of its value size (of a
/// per-CPU map: that size, rounded up to 8, times the number of possible CPUs).
pub(super) unsafe fn update<K, V>(
    map: BorrowedFd<'_>,
    key: *const K,
    value: *const V,
) -> io::Result<()> {
    let mut attr = zeroed_attr();
    // SAFETY: a field of integers; the rest of the union stays zero.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = raw(map);
    update.key = key as u64;
    update.__bindgen_anon_1.value = value as u64;
    // SAFETY: the caller's promise.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Reads one value of a map into `value`; whether the key was there.
///
/// # Safety
///
/// `key` must be valid for reads of the map's key size, `value` for writes of its value size (of
/// a per-CPU map: that size, rounded up to 8, times the number of possible CPUs).
pub(super) unsafe fn lookup<K, V>(
    map: BorrowedFd<'_>,
    key: *const K,
    value: *mut V,
) -> io::Result<bool> {
    let mut attr = zeroed_attr();
    // SAFETY: a field of integers; the rest of the union stays zero.
    let lookup = unsafe { &mut attr.__bindgen_anon_2 };
    lookup.map_fd = raw(map);
    lookup.key = key as u64;
    lookup.__bindgen_anon_1.value = value as u64;
    // SAFETY: the caller's promise.
    present(unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) })
}

/// Removes a key from a map; whether it was there.
///
/// # Safety
///
/// `key` must be valid for reads of the map's key size.
pub(super) unsafe fn delete<K>(map: BorrowedFd<'_>, key: *const K) -> io::Result<bool> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_2.map_fd = raw(map);
    attr.__bindgen_anon_2.key = key as u64;
    // SAFETY: the caller's promise.
    present(unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) })
}

fn present(result: io::Result<RawFd>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
