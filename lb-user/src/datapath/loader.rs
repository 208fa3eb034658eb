//! The program and its tables: loaded and pinned, or, where they are pinned already, taken over.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    thread::{self, JoinHandle},
};

use aya::{Ebpf, EbpfLoader, programs::Xdp};
use aya_obj::{Object, generated::bpf_map_type::BPF_MAP_TYPE_HASH};
use lb_common::{
    backend::MAX_SOURCES,
    flow::{Flow, FlowKey},
    layout::{maps, sizes},
};

use super::{
    StartError, explain,
    object::{LOG_PACKETS, OBJECT, PROGRAM},
    pins::Pins,
    ports,
    sys::{self, Shape},
};
use crate::config::model::{Config, Limits};

/// The tables that are pinned; whatever else the program uses belongs to one load of it.
const PINNED: [&str; 19] = [
    maps::SETTINGS,
    maps::SERVICES,
    maps::GENERATION,
    maps::SERVICE_BY_ID,
    maps::RINGS,
    maps::BACKENDS,
    maps::SOURCES,
    maps::PEERS,
    maps::PORTS,
    maps::PENDING,
    maps::FLOWS,
    maps::LEARNED,
    maps::MISSED,
    maps::ADMISSIONS,
    maps::LISTS,
    maps::LOAD_LIMITS,
    maps::LOADS,
    maps::VERDICTS,
    maps::BACKEND_COUNTERS,
];

/// The number of entries that the configuration gives a table, and the setting that says so.
fn configured(map: &str, limits: &Limits) -> Option<(u32, &'static str)> {
    match map {
        maps::FLOWS | maps::LEARNED => Some((limits.connections, "limits.connections")),
        maps::PENDING => Some((limits.pending, "limits.pending")),
        // Backends are numbered from 1.
        maps::BACKENDS | maps::BACKEND_COUNTERS | maps::LOAD_LIMITS | maps::LOADS => {
            Some((limits.backends.saturating_add(1), "limits.backends"))
        }
        maps::PEERS | maps::PORTS => Some((peers(limits), "limits.backends")),
        _ => None,
    }
}

/// Each backend has a range of peers, whether it uses them all or not.
pub(super) const fn peers(limits: &Limits) -> u32 {
    limits.backends.saturating_mul(MAX_SOURCES)
}

/// What a start waits for longest, begun by threads while the host is checked: nothing is changed by
/// it that outlives the process.
#[derive(Debug)]
pub struct Preparation {
    /// What the kernel says of its own types: aya asks for it whether a program needs it or not.
    types: JoinHandle<EbpfLoader<'static>>,
    /// The connection table, all of whose memory the kernel allocates at once; `None` if one is
    /// pinned, or if it is large: a start that is refused after all shall not press others for memory.
    flows: JoinHandle<Option<io::Result<OwnedFd>>>,
}

impl Preparation {
    /// Begins.
    #[must_use]
    pub fn begin(config: &Config) -> Self {
        let path = Pins::new(&config.pin_dir).map(maps::FLOWS);
        let shape = flows_shape(config.limits.connections);
        let begins = !path.exists() && fits(&shape, memory_available());
        let make = move || begins.then(|| sys::create_map(maps::FLOWS, &shape, None));
        Self { types: thread::spawn(EbpfLoader::new), flows: thread::spawn(make) }
    }

    /// Pins the connection table, unless one is pinned, and returns what loads the rest.
    fn finish(self, pins: &Pins) -> Result<EbpfLoader<'static>, StartError> {
        let path = pins.map(maps::FLOWS);
        // If it could not be made, aya will not be able to make it either, and says why.
        if let Ok(Some(Ok(flows))) = self.flows.join()
            && !path.exists()
        {
            sys::pin(flows.as_fd(), &path)
                .map_err(|error| StartError::file("pin the connection table at", &path, error))?;
        }
        Ok(self.types.join().unwrap_or_else(|_| EbpfLoader::new()))
    }
}

/// Whether a table of this shape takes at most a quarter of the memory that is available, in bytes.
const fn fits(shape: &Shape, available: u64) -> bool {
    // An entry, and its part of the buckets.
    let bytes = (shape.key_bytes + shape.value_bytes) as u64 + 88;
    bytes * shape.entries as u64 <= available / 4
}

/// Memory that programs can get without pressing others, in bytes, as the kernel estimates it; 0 if it
/// does not say.
fn memory_available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(0, |kib: u64| kib.saturating_mul(1024))
}

/// The shape of the connection table, as the object declares it, for so many connections.
const fn flows_shape(connections: u32) -> Shape {
    Shape {
        kind: BPF_MAP_TYPE_HASH as u32,
        key_bytes: size_of::<FlowKey>() as u32,
        value_bytes: size_of::<Flow>() as u32,
        entries: connections,
        flags: 0,
    }
}

/// How the program is loaded.
#[derive(Debug)]
pub(super) struct Load {
    pub preparation: Preparation,
    pub log_packets: bool,
}

/// Loads the program; its tables are those that are pinned, or new ones that are pinned then.
pub(super) fn load(config: &Config, pins: &Pins, load: Load) -> Result<Ebpf, StartError> {
    let limits = &config.limits;
    compare(pins, limits)?;
    create_ports(pins, peers(limits), config.nat.ports.count())?;
    let log = u8::from(load.log_packets);
    let mut loader = load.preparation.finish(pins)?;
    loader.override_global(LOG_PACKETS, &log, true);
    for map in PINNED {
        loader.map_pin_path(map, pins.map(map));
        if let Some((entries, _)) = configured(map, limits) {
            loader.map_max_entries(map, entries);
        }
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| StartError::Load {
        what: "make the tables of the XDP program",
        reason: explain::ebpf(&error),
    })?;
    load_program(&mut ebpf, PROGRAM)?;
    Ok(ebpf)
}

/// Loads the XDP program of this name.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<(), StartError> {
    program(ebpf, name)?.load().map_err(|error| StartError::Load {
        what: "load the XDP program",
        reason: explain::program(&error),
    })
}

/// The XDP program of this name in the object.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, StartError> {
    let missing = || StartError::Load {
        what: "find the XDP program",
        reason: format!("the object has no XDP program {name}"),
    };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|_| missing())
}

/// Refuses tables that are pinned with another shape than this build and configuration need.
fn compare(pins: &Pins, limits: &Limits) -> Result<(), StartError> {
    let pinned = PINNED.map(|name| (name, sys::open(&pins.map(name))));
    if pinned.iter().all(|(_, opened)| opened.is_err()) {
        // Reading the object takes a while.
        return Ok(());
    }
    let object = Object::parse(OBJECT).map_err(|error| StartError::Load {
        what: "read the XDP program",
        reason: error.to_string(),
    })?;
    for (name, opened) in pinned {
        let Ok(pinned) = opened else { continue };
        let Some(map) = object.maps.get(name) else { continue };
        let path = pins.map(name);
        let found = sys::shape(pinned.as_fd())
            .map_err(|error| StartError::file("examine", &path, error))?;
        let configured = configured(name, limits);
        let needed = shape(map, configured.map(|(entries, _)| entries));
        if found != needed {
            return Err(StartError::Shape {
                map: name.to_owned(),
                found: found.to_string(),
                needed: needed.to_string(),
                setting: configured.map_or("built in", |(_, setting)| setting),
            });
        }
    }
    Ok(())
}

/// The shape of a map of the object, with as many entries as are configured.
fn shape(map: &aya_obj::Map, entries: Option<u32>) -> Shape {
    Shape {
        kind: map.map_type(),
        key_bytes: map.key_size(),
        value_bytes: map.value_size(),
        entries: entries.unwrap_or(map.max_entries()),
        flags: map.map_flags(),
    }
}

/// Makes the map of the tables of source ports, unless it is pinned.
fn create_ports(pins: &Pins, peers: u32, ports: u32) -> Result<(), StartError> {
    let path = pins.map(maps::PORTS);
    if path.exists() {
        return Ok(());
    }
    ports::pin_map(&path, peers, ports)
        .map_err(|error| StartError::file("make the map for", &path, error))
}

// The sizes that the object is built with are those of the default configuration.
const _: () = assert!(sizes::PEERS == sizes::BACKENDS * MAX_SOURCES as usize);

#[cfg(test)]
mod tests {
    use super::{super::object::TRACE_PROGRAM, *};

    #[test]
    fn a_table_is_made_ahead_where_memory_is_plenty() {
        assert!(fits(&flows_shape(1_048_576), 1 << 30));
        assert!(!fits(&flows_shape(1_048_576), 1 << 28));
        assert!(!fits(&flows_shape(u32::MAX), 1 << 40));
        assert!(memory_available() > 0);
    }

    #[test]
    fn the_object_declares_every_table_that_is_pinned() {
        let object = Object::parse(OBJECT).unwrap();
        for name in PINNED {
            assert!(object.maps.contains_key(name), "{name}");
        }
        assert_eq!(flows_shape(7), shape(&object.maps[maps::FLOWS], Some(7)));
        for name in [PROGRAM, TRACE_PROGRAM] {
            assert!(object.programs.contains_key(name), "{name}");
        }
    }
}
