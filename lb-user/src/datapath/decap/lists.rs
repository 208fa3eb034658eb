//! The lists of the unwrapping program, opened by their pins.

use std::net::IpAddr;

use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use lb_common::{
    addr::Addr,
    decap::{self, maps},
};

use super::Allowed;
use crate::{
    config::model::Prefix,
    datapath::{StartError, explain, pins::Pins},
};

/// Who may wrap what for whom.
pub(super) struct Lists {
    from: LpmTrie<MapData, [u32; 4], u32>,
    to: HashMap<MapData, Addr, u32>,
    vips: HashMap<MapData, Addr, u32>,
}

/// The value under every key: only the keys count.
const LISTED: u32 = 1;

impl Lists {
    pub(super) fn open(pins: &Pins) -> Result<Self, StartError> {
        let open = |name| {
            let data = MapData::from_pin(pins.map(name)).map_err(|error| failed(name, &error))?;
            Map::from_map_data(data).map_err(|error| failed(name, &error))
        };
        Ok(Self {
            from: open(maps::FROM)?.try_into().map_err(|error| failed(maps::FROM, &error))?,
            to: open(maps::TO)?.try_into().map_err(|error| failed(maps::TO, &error))?,
            vips: open(maps::VIPS)?.try_into().map_err(|error| failed(maps::VIPS, &error))?,
        })
    }

    /// Adds what `allowed` has beyond them.
    pub(super) fn add(&mut self, allowed: &Allowed) -> Result<(), StartError> {
        for prefix in &allowed.from {
            let added = self.from.insert(&key(*prefix), LISTED, 0);
            added.map_err(|error| failed(maps::FROM, &error))?;
        }
        for (name, list, addresses) in
            [(maps::TO, &mut self.to, &allowed.to), (maps::VIPS, &mut self.vips, &allowed.vips)]
        {
            for address in addresses {
                let added = list.insert(Addr::from(*address), LISTED, 0);
                added.map_err(|error| failed(name, &error))?;
            }
        }
        Ok(())
    }

    /// Removes what `allowed` has not.
    pub(super) fn keep_only(&mut self, allowed: &Allowed) -> Result<(), StartError> {
        let found = self.read()?;
        for prefix in found.from.iter().filter(|prefix| !allowed.from.contains(prefix)) {
            let removed = self.from.remove(&key(*prefix));
            removed.map_err(|error| failed(maps::FROM, &error))?;
        }
        for (name, list, found, wanted) in [
            (maps::TO, &mut self.to, &found.to, &allowed.to),
            (maps::VIPS, &mut self.vips, &found.vips, &allowed.vips),
        ] {
            for address in found.iter().filter(|address| !wanted.contains(address)) {
                let removed = list.remove(&Addr::from(*address));
                removed.map_err(|error| failed(name, &error))?;
            }
        }
        Ok(())
    }

    /// What they hold, sorted.
    pub(super) fn read(&self) -> Result<Allowed, StartError> {
        let from: Result<Vec<_>, _> = self.from.keys().map(|key| Ok(prefix(&key?))).collect();
        let mut allowed = Allowed {
            from: from.map_err(|error: MapError| failed(maps::FROM, &error))?,
            to: addresses(maps::TO, &self.to)?,
            vips: addresses(maps::VIPS, &self.vips)?,
        };
        allowed.from.sort_unstable();
        allowed.to.sort_unstable();
        allowed.vips.sort_unstable();
        Ok(allowed)
    }
}

fn addresses(
    name: &'static str,
    list: &HashMap<MapData, Addr, u32>,
) -> Result<Vec<IpAddr>, StartError> {
    let found: Result<Vec<_>, _> = list.keys().map(|key| key.map(IpAddr::from)).collect();
    found.map_err(|error| failed(name, &error))
}

fn key(prefix: Prefix) -> Key<[u32; 4]> {
    let decap::Prefix { bits, address } = decap::Prefix::new(prefix.address(), prefix.bits());
    Key::new(bits, address)
}

fn prefix(key: &Key<[u32; 4]>) -> Prefix {
    let (address, bits) = decap::Prefix { bits: key.prefix_len(), address: key.data() }.parts();
    Prefix::new(address, bits)
}

fn failed(name: &str, error: &MapError) -> StartError {
    StartError::Load {
        what: "use a list of the XDP program",
        reason: format!("{name}: {}", explain::with_causes(error)),
    }
}
