//! Whole tables in few system calls (`BPF_MAP_LOOKUP_BATCH` and the like, Linux 5.6).

use std::{
    fmt::Debug,
    io,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use aya::Pod;
use aya_obj::generated::bpf_cmd;

use super::{
    sys::{bpf, raw, zeroed_attr},
    table::Table,
};
use crate::control::datapath::DatapathError;

/// Entries per system call: enough that the call itself does not count, and few enough that an
/// entry is not long out of date when it is judged.
const BATCH: usize = 8192;

/// Batches that are read before the one being visited is done.
const BATCHES_AHEAD: usize = 2;

/// The kernel's own code, unknown to libc, for what a kind of map does not support.
const ENOTSUPP: i32 = 524;

impl<K: Pod + Debug, V: Pod> Table<K, V> {
    /// Calls `visit` with all entries, some thousands at a time, in no order.
    ///
    /// An entry that is there from beginning to end is visited; others may be. While `visit` works on
    /// one batch, another thread reads the next: both wait for memory most of the time.
    pub(super) fn visit(
        &self,
        mut visit: impl FnMut(&[K], &[V]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError>
    where
        K: Send,
        V: Send,
    {
        let mut reading = Reading { table: self, position: None };
        let mut batch = Batch::with_room(BATCH);
        reading.read(&mut batch)?;
        visit(&batch.keys, &batch.values)?;
        if batch.is_last {
            return Ok(());
        }
        thread::scope(|scope| {
            let (to_fill, empty) = mpsc::sync_channel(BATCHES_AHEAD);
            let (filled, to_visit) = mpsc::sync_channel(BATCHES_AHEAD);
            for batch in [batch, Batch::with_room(BATCH)] {
                // There is room for as many as there are.
                let _ = to_fill.send(batch);
            }
            let mut here = Reading { ..reading };
            let ahead = move || reading.read_ahead(&empty, &filled);
            let thread = thread::Builder::new().name(format!("read-{}", self.name()));
            if let Err(error) = thread.spawn_scoped(scope, ahead) {
                tracing::debug!(%error, table = self.name(), "no thread reads ahead");
                let mut batch = Batch::with_room(BATCH);
                while !batch.is_last {
                    here.read(&mut batch)?;
                    visit(&batch.keys, &batch.values)?;
                }
                return Ok(());
            }
            for batch in to_visit {
                let batch = batch?;
                visit(&batch.keys, &batch.values)?;
                // Nobody takes it if all is read.
                let _ = to_fill.send(batch);
            }
            Ok(())
        })
    }

    /// Writes each of `values` under the key at its place in `keys`. After an error, those up to
    /// some place are written.
    pub(super) fn put_batch(&self, keys: &[K], values: &[V]) -> Result<(), DatapathError> {
        let count = keys.len().min(values.len());
        if count == 0 {
            return Ok(());
        }
        let mut attr = zeroed_attr();
        // SAFETY: a field of integers; the rest of the union stays zero.
        let batch = unsafe { &mut attr.batch };
        batch.map_fd = raw(self.fd());
        batch.keys = keys.as_ptr() as u64;
        batch.values = values.as_ptr() as u64;
        batch.count = count as u32;
        // SAFETY: the kernel reads `count` keys and values, whose sizes `open` has compared.
        match unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr) } {
            Ok(_) => Ok(()),
            // A map of maps takes no batch before Linux 5.19.
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
                keys.iter().zip(values).try_for_each(|(key, value)| self.put(key, value))
            }
            Err(error) => Err(self.error(format!("update {count} entries"), error)),
        }
    }

    /// Removes `keys`; those that are gone already do not matter. Returns how many were there.
    pub(super) fn remove_batch(&self, mut keys: &[K]) -> Result<u64, DatapathError> {
        let mut removed = 0;
        while !keys.is_empty() {
            let mut attr = zeroed_attr();
            // SAFETY: a field of integers; the rest of the union stays zero.
            let batch = unsafe { &mut attr.batch };
            batch.map_fd = raw(self.fd());
            batch.keys = keys.as_ptr() as u64;
            batch.count = keys.len() as u32;
            // SAFETY: the kernel reads `count` keys, whose size `open` has compared.
            let result = unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut attr) };
            // SAFETY: an integer, written by the kernel: how many keys it has removed.
            let done = unsafe { attr.batch.count } as usize;
            let skipped = match result {
                Ok(_) => 0,
                // It stops at the first key that is not there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => 1,
                Err(error) => return Err(self.error("delete a batch".to_owned(), error)),
            };
            removed += done as u64;
            keys = keys.get(done + skipped..).unwrap_or_default();
        }
        Ok(removed)
    }
}

/// Entries as they were read.
struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    is_last: bool,
}

impl<K, V> Batch<K, V> {
    fn with_room(entries: usize) -> Self {
        let (keys, values) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        Self { keys, values, is_last: false }
    }
}

/// A table on its way to be read.
struct Reading<'a, K, V> {
    table: &'a Table<K, V>,
    /// The kernel's cursor; `None` at the beginning.
    position: Option<u64>,
}

impl<K: Pod + Debug, V: Pod> Reading<'_, K, V> {
    /// Fills and hands over one batch after another, until all is read or nobody wants more.
    fn read_ahead(
        mut self,
        empty: &Receiver<Batch<K, V>>,
        filled: &SyncSender<Result<Batch<K, V>, DatapathError>>,
    ) {
        while let Ok(mut batch) = empty.recv() {
            let read = self.read(&mut batch);
            let ends = read.is_err() || batch.is_last;
            if filled.send(read.map(|()| batch)).is_err() || ends {
                return;
            }
        }
    }

    /// Fills `batch` with the entries that follow.
    fn read(&mut self, batch: &mut Batch<K, V>) -> Result<(), DatapathError> {
        loop {
            match self.look_up(batch) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    // A bucket holds more than fits.
                    *batch = Batch::with_room(batch.keys.capacity() * 2);
                }
                Err(error) => return Err(self.table.error("look up a batch".to_owned(), error)),
            }
        }
    }

    fn look_up(&mut self, Batch { keys, values, is_last }: &mut Batch<K, V>) -> io::Result<()> {
        keys.clear();
        values.clear();
        // The kernel's cursor: four bytes (a bucket, or an index) of these eight.
        let mut next = 0u64;
        let mut attr = zeroed_attr();
        // SAFETY: a field of integers; the rest of the union stays zero.
        let batch = unsafe { &mut attr.batch };
        batch.map_fd = raw(self.table.fd());
        batch.in_batch = self.position.as_ref().map_or(0, |position| &raw const *position as u64);
        batch.out_batch = &raw mut next as u64;
        batch.keys = keys.as_mut_ptr() as u64;
        batch.values = values.as_mut_ptr() as u64;
        batch.count = keys.capacity().min(values.capacity()) as u32;
        // SAFETY: the cursors have at least the bytes that the kernel uses; it writes at most
        // `count` keys and values, for which there is room, and `open` has compared their sizes.
        let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
        *is_last = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        // SAFETY: an integer, written by the kernel.
        let count = unsafe { attr.batch.count } as usize;
        // SAFETY: the kernel has written `count` keys and values, at most the capacity; any bytes
        // are a value of a `Pod`.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        self.position = Some(next);
        Ok(())
    }
}
