//! Peers and their tables of source ports.

use std::collections::BTreeSet;

use lb_common::backend::PeerKey;

use super::{StartError, known::Known, pins::Pins, ports::PortTable, sys, tables::Tables};
use crate::control::datapath::DatapathError;

/// Writes a peer. Its table is made unless it is there.
pub(super) fn put(
    tables: &Tables,
    known: &mut Known,
    pins: &Pins,
    key: &PeerKey,
    peer: u32,
) -> Result<(), DatapathError> {
    create_tables(tables, known, pins, BTreeSet::from([peer]))?;
    // Last: from now on segments of this peer are ours.
    tables.peers.put(key, &peer)?;
    tables.forget_known()
}

/// Makes the tables of these peers, those that are not there yet. No packet can notice.
///
/// All at once, because the kernel waits after each change of a map of maps until no packet is
/// under way on what was there before: some 10 ms, for one table or for a hundred.
pub(super) fn create_tables(
    tables: &Tables,
    known: &mut Known,
    pins: &Pins,
    mut peers: BTreeSet<u32>,
) -> Result<(), DatapathError> {
    peers.retain(|peer| !known.ports.contains_key(peer));
    let mut made = Vec::new();
    for peer in peers {
        let table = PortTable::create(known.ports_per_table)
            .map_err(|error| tables.ports.error(format!("make the table of {peer}"), error))?;
        made.push((peer, table));
    }
    let keys: Vec<u32> = made.iter().map(|(peer, _)| *peer).collect();
    let maps: Vec<u32> = made.iter().map(|(_, table)| sys::raw(table.fd())).collect();
    tables.ports.put_batch(&keys, &maps)?;
    for (peer, table) in made {
        // After the map: what is pinned is known to be in use.
        table.pin(pins, peer).map_err(|error| refused(&error))?;
        known.ports.insert(peer, table);
    }
    Ok(())
}

/// Removes a peer and its table.
pub(super) fn remove(
    tables: &Tables,
    known: &mut Known,
    pins: &Pins,
    key: &PeerKey,
    peer: u32,
) -> Result<(), DatapathError> {
    tables.peers.remove(key)?;
    tables.forget_known()?;
    PortTable::unpin(pins, peer).map_err(|error| refused(&error))?;
    known.ports.remove(&peer);
    tables.ports.remove(&peer)
}

fn refused(error: &StartError) -> DatapathError {
    DatapathError::Refused(error.to_string())
}
