//! A pinned map with the types of its keys and values.

use std::{
    fmt::Debug,
    io,
    marker::PhantomData,
    mem::{self, MaybeUninit},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::Pod;

use super::{StartError, pins::Pins, sys};
use crate::control::datapath::DatapathError;

/// A pinned map of `K` to `V`.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    // As a function of them, because a map is shared between threads whatever lies in it.
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod + Debug, V: Pod> Table<K, V> {
    /// Opens the map with this name.
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, StartError> {
        let path = pins.map(name);
        let opened = sys::open(&path).and_then(|fd| Ok((sys::shape(fd.as_fd())?, fd)));
        let (shape, fd) = opened.map_err(|error| StartError::file("open", &path, error))?;
        // The other methods let the kernel read and write as many bytes as the map's shape says.
        let fits =
            (shape.key_bytes, shape.value_bytes) == (size_of::<K>() as u32, size_of::<V>() as u32);
        if !fits {
            return Err(StartError::Shape {
                map: name.to_owned(),
                found: shape.to_string(),
                needed: format!("keys of {} and values of {}", size_of::<K>(), size_of::<V>()),
                setting: "built in",
            });
        }
        Ok(Self { name, fd, types: PhantomData })
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, DatapathError> {
        let mut value = MaybeUninit::<V>::uninit();
        // SAFETY: `open` has compared the sizes of the map with those of `K` and `V`.
        let found = unsafe { sys::lookup(self.fd(), key, value.as_mut_ptr()) };
        let found = found.map_err(|error| self.error(format!("look up {key:?}"), error))?;
        // SAFETY: the kernel has written the whole value, and any bytes are a value of a `Pod`.
        Ok(found.then(|| unsafe { value.assume_init() }))
    }

    /// The key that follows `key`, or the first one.
    pub(super) fn key_after(&self, key: Option<&K>) -> Result<Option<K>, DatapathError> {
        let mut next = MaybeUninit::<K>::uninit();
        let from = key.map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `open` has compared the size of the map's keys with that of `K`.
        let found = unsafe { sys::next_key(self.fd(), from, next.as_mut_ptr()) };
        let found =
            found.map_err(|error| self.error(format!("find what follows {key:?}"), error))?;
        // SAFETY: the kernel has written the whole key, and any bytes are a value of a `Pod`.
        Ok(found.then(|| unsafe { next.assume_init() }))
    }

    /// Writes `value` under `key`.
    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        // SAFETY: `open` has compared the sizes of the map with those of `K` and `V`.
        unsafe { sys::update(self.fd(), key, value) }
            .map_err(|error| self.error(format!("update {key:?}"), error))
    }

    /// Zeroes the value under `key`: an array has no keys to remove.
    pub(super) fn zero(&self, key: &K) -> Result<(), DatapathError> {
        // SAFETY: any bytes are a value of a `Pod`.
        let nothing: V = unsafe { mem::zeroed() };
        self.put(key, &nothing)
    }

    /// Removes `key`; fine if it is gone.
    pub(super) fn remove(&self, key: &K) -> Result<(), DatapathError> {
        // SAFETY: `open` has compared the size of the map's keys with that of `K`.
        unsafe { sys::delete(self.fd(), key) }
            .map(drop)
            .map_err(|error| self.error(format!("delete {key:?}"), error))
    }

    pub(super) fn error(&self, operation: String, source: io::Error) -> DatapathError {
        DatapathError::Map { map: self.name, operation, source }
    }
}

/// A pinned per-CPU array of `V`.
#[derive(Debug)]
pub(super) struct PerCpuTable<V> {
    name: &'static str,
    fd: OwnedFd,
    cpus: usize,
    types: PhantomData<V>,
}

impl<V: Pod + Default> PerCpuTable<V> {
    /// The kernel gives every CPU's value this alignment.
    const VALUE_IS_ALIGNED: () = assert!(size_of::<V>().is_multiple_of(8));

    /// Opens the map with this name.
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, StartError> {
        const { Self::VALUE_IS_ALIGNED };
        let table = Table::<u32, V>::open(pins, name)?;
        let cpus = aya::util::nr_cpus()
            .map_err(|(path, error)| StartError::file("read", path.as_ref(), error))?;
        Ok(Self { name, fd: table.fd, cpus, types: PhantomData })
    }

    /// The values of all possible CPUs at `index`.
    pub(super) fn get(&self, index: u32) -> Result<Vec<V>, DatapathError> {
        let mut values = vec![V::default(); self.cpus];
        // SAFETY: `open` has compared the sizes, the value's is a multiple of 8, and there is one
        // value for each possible CPU.
        let found = unsafe { sys::lookup(self.fd.as_fd(), &raw const index, values.as_mut_ptr()) };
        match found {
            Ok(true) => Ok(values),
            Ok(false) => Err(self.error("look up", index, io::ErrorKind::NotFound.into())),
            Err(error) => Err(self.error("look up", index, error)),
        }
    }

    /// Zeroes the values of all CPUs at `index`.
    pub(super) fn clear(&self, index: u32) -> Result<(), DatapathError> {
        let values = vec![V::default(); self.cpus];
        // SAFETY: as in `get`.
        unsafe { sys::update(self.fd.as_fd(), &raw const index, values.as_ptr()) }
            .map_err(|error| self.error("update", index, error))
    }

    fn error(&self, what: &str, index: u32, source: io::Error) -> DatapathError {
        DatapathError::Map { map: self.name, operation: format!("{what} {index}"), source }
    }
}
