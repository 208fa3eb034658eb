//! What new connections must pass: written, and emptied again.

use anyhow::Result;
use aya::maps::{Array, LpmTrie, lpm_trie};
use lb_common::{
    admission::{Admission, ListKey, Listed, RateKey},
    layout::maps,
    load::LoadLimits,
};
use lb_ebpf::host::World;

use super::{
    Kernel,
    tables::{NUMBERS, remove_all},
};

/// A prefix of a list behind its number of bits.
type ListData = [u8; 20];

impl Kernel {
    pub(super) fn write_limits(&mut self, world: &World) -> Result<()> {
        let mut admissions: Array<_, Admission> = self.map(maps::ADMISSIONS)?.try_into()?;
        for (service, admission) in &world.admissions {
            admissions.set(*service, admission, 0)?;
        }
        let mut lists: LpmTrie<_, ListData, Listed> = self.map(maps::LISTS)?.try_into()?;
        for (key, listed) in &world.lists {
            lists.insert(&trie_key(key), listed, 0)?;
        }
        let mut limits: Array<_, LoadLimits> = self.map(maps::LOAD_LIMITS)?.try_into()?;
        for (backend, limit) in &world.load_limits {
            limits.set(*backend, limit, 0)?;
        }
        Ok(())
    }

    pub(super) fn empty_limits(&mut self) -> Result<()> {
        let mut admissions: Array<_, [u64; 8]> = self.map(maps::ADMISSIONS)?.try_into()?;
        for service in 0..NUMBERS {
            admissions.set(service, [0; 8], 0)?;
        }
        let mut lists: LpmTrie<_, ListData, Listed> = self.map(maps::LISTS)?.try_into()?;
        let listed = lists.keys().collect::<Result<Vec<_>, _>>()?;
        listed.iter().try_for_each(|key| lists.remove(key))?;
        let mut limits: Array<_, [u64; 3]> = self.map(maps::LOAD_LIMITS)?.try_into()?;
        for backend in 0..NUMBERS {
            limits.set(backend, [0; 3], 0)?;
        }
        let mut loads: Array<_, [u64; 2]> = self.map(maps::LOADS)?.try_into()?;
        for backend in 0..NUMBERS {
            loads.set(backend, [0; 2], 0)?;
        }
        for rates in ["SOURCE_RATES", "PREFIX_RATES"] {
            remove_all::<RateKey, u64>(self.map(rates)?)?;
        }
        Ok(())
    }
}

fn trie_key(key: &ListKey) -> lpm_trie::Key<ListData> {
    let mut data = [0; 20];
    data[..4].copy_from_slice(&key.service.to_ne_bytes());
    data[4..].copy_from_slice(&key.address.octets());
    lpm_trie::Key::new(32 + u32::from(key.address_bits()), data)
}
