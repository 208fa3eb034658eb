//! What the controller keeps in memory of the tables, so that it can follow a flow to its source
//! port without a system call.

use std::collections::BTreeMap;

use lb_common::{
    backend::{Backend, MAX_SOURCES, backend_flags},
    flow::Flow,
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

    /// Whether the flow is of a backend that answers directly.
    pub(super) fn is_direct(&self, flow: &Flow) -> bool {
        let backend = self.backends.get(&flow.backend());
        backend.is_some_and(|backend| backend.flags & backend_flags::DIRECT != 0)
    }

    /// Where the port of a flow lies: peer and index; `None` if it has none.
    pub(super) fn place(&self, flow: &Flow) -> Option<(u32, usize)> {
        let backend = self.backends.get(&flow.backend())?;
        if backend.flags & backend_flags::DIRECT != 0 {
            return None;
        }
        let port = u16::from_be_bytes(flow.nat_port);
        let index = port.checked_sub(self.settings.first_port)?;
        Some((backend.first_peer + u32::from(flow.source), usize::from(index)))
    }

    /// The port at this place.
    pub(super) fn port(&self, (peer, index): (u32, usize)) -> Option<&Port> {
        self.ports.get(&peer)?.get(index)
    }

    /// The port tables that flows of `backend` may have ports in.
    pub(super) fn ports_of(&self, backend: &Backend) -> impl Iterator<Item = &PortTable> {
        let peers = backend.first_peer..backend.first_peer.saturating_add(MAX_SOURCES);
        self.ports.range(peers).map(|(_, table)| table)
    }
}
