//! The program that tells of packets: in the place of the plain one while somebody traces, and what
//! it tells.
//!
//! Both are loaded at the start, because the controller gives up the right to load programs; to
//! exchange them it needs nothing but the pinned links. This one is loaded by a thread of its own,
//! while the controller is at work already.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use lb_common::trace::{TraceCounts, TraceEvent, TraceFilter, maps};
use rustix::event::{PollFd, PollFlags, poll};

use super::{
    StartError, attach, explain, interface, loader,
    object::{PROGRAM, TRACE_PROGRAM},
    pins::Pins,
};
use crate::control::{
    datapath::DatapathError,
    trace::{Told, TraceSource},
};

/// Loads the program, so that [`start`] can put it somewhere.
pub(super) fn prepare(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    loader::load_program(ebpf, TRACE_PROGRAM)
        .map_err(|error| DatapathError::Refused(error.to_string()))
}

/// Writes the filter, and puts the program that reads it on all interfaces.
pub(super) fn start(
    ebpf: &mut Ebpf,
    pins: &Pins,
    filter: &TraceFilter,
    lasts: Duration,
) -> Result<Box<dyn TraceSource>, DatapathError> {
    let mut filters: Array<_, TraceFilter> = map(ebpf, maps::FILTER)?;
    let lasts_ns = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
    let until_ns = super::clock_ns(libc::CLOCK_MONOTONIC).saturating_add(lasts_ns);
    let filter = TraceFilter { until_ns, ..*filter };
    filters.set(0, filter, 0).map_err(|error| refused("write the filter", &error))?;
    let source = Source::open(ebpf, filter.session)?;
    if let Err(error) = put(ebpf, TRACE_PROGRAM, pins) {
        stop(ebpf, pins)?;
        return Err(error);
    }
    Ok(Box::new(source))
}

/// Puts the plain program back.
pub(super) fn stop(ebpf: &mut Ebpf, pins: &Pins) -> Result<(), DatapathError> {
    put(ebpf, PROGRAM, pins)
}

fn put(ebpf: &mut Ebpf, name: &str, pins: &Pins) -> Result<(), DatapathError> {
    let exchange = |ebpf| {
        let program = loader::program(ebpf, name)?;
        let fd = program.fd().map_err(|error| StartError::Load {
            what: "find the XDP program",
            reason: explain::with_causes(&error),
        })?;
        attach::exchange_all(fd.as_fd(), pins)
    };
    exchange(ebpf).map_err(|error| DatapathError::Refused(error.to_string()))
}

fn map<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T, DatapathError>
where
    T: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = ebpf.map_mut(name).ok_or_else(|| refused(name, &"the object has no such map"))?;
    T::try_from(map).map_err(|error| refused(name, &error))
}

fn refused(what: &str, error: &dyn std::fmt::Display) -> DatapathError {
    DatapathError::Refused(format!("trace: {what}: {error}"))
}

/// The reading end. Its maps outlive the controller's, so that it may be on another thread.
struct Source {
    session: u64,
    ring: RingBuf<MapData>,
    counts: PerCpuArray<MapData, TraceCounts>,
    /// Lost in sessions before this one.
    lost_before: u64,
    /// What Unix time is ahead of the kernel's clock.
    ahead_ns: u64,
}

impl Source {
    fn open(ebpf: &Ebpf, session: u64) -> Result<Self, DatapathError> {
        let mut ring = RingBuf::try_from(Map::RingBuf(duplicate(ebpf, maps::EVENTS)?))
            .map_err(|error| refused(maps::EVENTS, &error))?;
        // What an earlier session has left.
        while ring.next().is_some() {}
        let counts = PerCpuArray::try_from(Map::PerCpuArray(duplicate(ebpf, maps::COUNTS)?))
            .map_err(|error| refused(maps::COUNTS, &error))?;
        let now = |clock| super::clock_ns(clock);
        let ahead_ns = now(libc::CLOCK_REALTIME).wrapping_sub(now(libc::CLOCK_MONOTONIC));
        let mut source = Self { session, ring, counts, lost_before: 0, ahead_ns };
        source.lost_before = source.lost()?;
        Ok(source)
    }
}

/// Another handle of a map.
fn duplicate(ebpf: &Ebpf, name: &str) -> Result<MapData, DatapathError> {
    let map = ebpf.map(name).ok_or_else(|| refused(name, &"the object has no such map"))?;
    let (Map::RingBuf(data) | Map::PerCpuArray(data)) = map else {
        return Err(refused(name, &"a map of another kind"));
    };
    let fd: OwnedFd =
        data.fd().as_fd().try_clone_to_owned().map_err(|error| refused(name, &error))?;
    MapData::from_fd(fd).map_err(|error| refused(name, &error))
}

impl TraceSource for Source {
    fn next(&mut self, patience: Duration) -> io::Result<Option<Told>> {
        if let Some(told) = self.take() {
            return Ok(Some(told));
        }
        let mut polled = [PollFd::new(&self.ring, PollFlags::IN)];
        let patience = patience.try_into().map_err(io::Error::other)?;
        match poll(&mut polled, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.take()),
            Err(error) => Err(error.into()),
        }
    }

    fn lost(&self) -> Result<u64, DatapathError> {
        let counts = self.counts.get(&0, 0).map_err(|error| refused(maps::COUNTS, &error))?;
        let lost: u64 = counts.iter().map(|counts| counts.lost).sum();
        Ok(lost.wrapping_sub(self.lost_before))
    }
}

impl Source {
    /// The next packet of this session in the ring.
    fn take(&mut self) -> Option<Told> {
        loop {
            let item = self.ring.next()?;
            let (event, caught) = item.split_at_checked(size_of::<TraceEvent>())?;
            // SAFETY: there are as many bytes as an event has, which any bytes are a value of.
            let event = unsafe { event.as_ptr().cast::<TraceEvent>().read_unaligned() };
            if event.session == self.session {
                let name = |index| interface::name(index).unwrap_or_else(|| format!("#{index}"));
                return Some(Told {
                    time_us: event.time_ns.wrapping_add(self.ahead_ns) / 1000,
                    event,
                    caught: caught.to_owned(),
                    came_by: name(event.ingress),
                    goes_by: (event.egress != 0).then(|| name(event.egress)),
                });
            }
        }
    }
}
