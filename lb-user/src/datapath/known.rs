//! What the controller keeps in memory of the tables, so that it can follow a flow to its source
//! port without a system call.

use std::collections::BTreeMap;

use lb_common::{
    backend::{Backend, MAX_SOURCES, backend_flags},
    flow::{Flow, FlowKey},
    port::Port,
    settings::Settings,
};

use super::{StartError, pins::Pins, ports::PortTable, tables::Tables};

/// Settings, backends and port tables as they were written last.
#[derive(Debug)]
pub(super) struct Known {
    pub settings: Settings,
    pub backends: BTreeMap<u32, Backend>,
    pub ports: BTreeMap<u32, PortTable>,
    /// Source ports in each table, fixed when the first was made.
    pub ports_per_table: u32,
}

impl Known {
    /// Reads what is there.
    pub(super) fn read(
        tables: &Tables,
        pins: &Pins,
        ports_per_table: u32,
    ) -> Result<Self, StartError> {
        let mut backends = BTreeMap::new();
        tables.backends.visit(|ids, entries| {
            let present = |entry: &Backend| entry.flags & backend_flags::PRESENT != 0;
            let pairs = ids.iter().zip(entries).filter(|(_, entry)| present(entry));
            backends.extend(pairs.map(|(id, entry)| (*id, *entry)));
            Ok(())
        })?;
        let mut ports = BTreeMap::new();
        for peer in pins.peers()? {
            ports.insert(peer, PortTable::open(pins, peer, ports_per_table)?);
        }
        let settings = tables.settings.get(&0)?.unwrap_or_default();
        Ok(Self { settings, backends, ports, ports_per_table })
    }

    /// The port tables that flows of `backend` may have ports in.
    pub(super) fn ports_of(&self, backend: &Backend) -> impl Iterator<Item = &PortTable> {
        let peers = backend.first_peer..backend.first_peer.saturating_add(MAX_SOURCES);
        self.ports.range(peers).map(|(_, table)| table)
    }
}

#[cfg(test)]
impl Known {
    /// Where the port of a flow lies.
    pub(super) fn place(&self, flow: &Flow) -> Option<Place> {
        place(self.settings.first_port, flow, self.backends.get(&flow.backend())?)
    }

    /// The port at this place.
    pub(super) fn port(&self, place: Place) -> Option<&Port> {
        self.ports.get(&place.peer)?.get(place.index)
    }
}

/// [`Known`] by numbers, for a pass that asks it for each of millions of flows.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub settings: &'a Settings,
    backends: Vec<Option<&'a Backend>>,
    ports: Vec<&'a [Port]>,
}

/// Where the source port of a flow lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Whose port it is: the peer's number.
    pub peer: u32,
    /// Its distance from the first of the range.
    pub index: usize,
}

/// An entry of a table of flows, with what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub key: FlowKey,
    pub flow: Flow,
    /// `None` if there is none with its number.
    pub backend: Option<&'a Backend>,
    /// Where its port lies; `None` if it has none.
    pub place: Option<Place>,
}

impl Entry<'_> {
    /// Whether its backend answers directly.
    pub(super) fn is_direct(&self) -> bool {
        self.backend.is_some_and(is_direct)
    }
}

impl<'a> Places<'a> {
    pub(super) fn of(known: &'a Known) -> Self {
        let mut backends = Vec::new();
        for (id, backend) in &known.backends {
            put(&mut backends, *id, Some(backend), None);
        }
        let mut ports = Vec::new();
        for (peer, table) in &known.ports {
            put(&mut ports, *peer, &**table, &[]);
        }
        Self { settings: &known.settings, backends, ports }
    }

    pub(super) fn entry(&self, key: FlowKey, flow: Flow) -> Entry<'a> {
        let backend = self.backends.get(flow.backend() as usize).copied().flatten();
        let place = backend.and_then(|backend| place(self.settings.first_port, &flow, backend));
        Entry { key, flow, backend, place }
    }

    /// The port at this place.
    pub(super) fn port(&self, place: Place) -> Option<&'a Port> {
        self.ports.get(place.peer as usize)?.get(place.index)
    }
}

fn place(first_port: u16, flow: &Flow, backend: &Backend) -> Option<Place> {
    if is_direct(backend) {
        return None;
    }
    let port = u16::from_be_bytes(flow.nat_port);
    let index = port.checked_sub(first_port)?;
    let peer = backend.first_peer + u32::from(flow.source);
    Some(Place { peer, index: usize::from(index) })
}

/// Puts `value` at `place`, and `none` at those before it that have no value yet.
fn put<T: Copy>(list: &mut Vec<T>, place: u32, value: T, none: T) {
    list.resize(place as usize, none);
    list.push(value);
}

/// Whether a backend answers its clients directly: its flows have no port.
const fn is_direct(backend: &Backend) -> bool {
    backend.flags & backend_flags::DIRECT != 0
}
