//! Source ports whose flow is in no table: what a crash between two writes leaves behind. Pure.

use std::collections::{BTreeMap, HashSet};

use lb_common::port::{Owner, Port, port_flags};

use super::sweep;

/// The ports that the entries of one pass over both tables named.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// One bit per port, by peer.
    peers: BTreeMap<u32, Vec<u64>>,
}

impl Named {
    pub(super) fn note(&mut self, peer: u32, index: usize) {
        let bits = self.peers.entry(peer).or_default();
        let word = index / 64;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        if let Some(word) = bits.get_mut(word) {
            *word |= 1 << (index % 64);
        }
    }

    fn has(&self, peer: u32, index: usize) -> bool {
        let word = self.peers.get(&peer).and_then(|bits| bits.get(index / 64));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

/// Ports that were claimed although no entry named them, as of the last pass.
///
/// One pass proves nothing: the flow may have been opened while it ran. A port that two passes in
/// a row find with the same owner and without an entry is an orphan.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashSet<(u32, usize, u64)>);

impl Suspects {
    /// Looks at the ports of a peer after a pass: orphans and stuck ports begin to rest. Suspects
    /// go into `next`. Returns how many were found.
    pub(super) fn look(
        &self,
        peer: u32,
        ports: &[Port],
        named: &Named,
        now: u32,
        next: &mut Self,
    ) -> u64 {
        let mut found = 0;
        for (index, port) in ports.iter().enumerate() {
            let owner = port.owner();
            if owner == Owner::FREE {
                continue;
            }
            if sweep::is_stuck(owner) {
                if sweep::take(port, owner) {
                    port.rest(now);
                    found += 1;
                }
            } else if owner.has(port_flags::CLAIMED) && !named.has(peer, index) {
                let suspect = (peer, index, identity(owner));
                if self.0.contains(&suspect) && sweep::take(port, owner) {
                    port.rest(now);
                    found += 1;
                } else {
                    next.0.insert(suspect);
                }
            }
        }
        found
    }
}

/// The owner without what changes while a flow lives.
const fn identity(owner: Owner) -> u64 {
    owner.0 & !0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(client_port: u8) -> Port {
        let port = Port::default();
        port.take(Owner::FREE, Owner::claimed(7, [0, client_port]));
        port
    }

    #[test]
    fn a_port_that_two_passes_find_without_a_flow_is_freed() {
        let ports = [Port::default(), claimed(1), claimed(2)];
        let mut named = Named::default();
        named.note(4, 2);
        let mut suspects = Suspects::default();
        for expected in [0, 1, 0] {
            let mut next = Suspects::default();
            assert_eq!(suspects.look(4, &ports, &named, 50, &mut next), expected);
            suspects = next;
        }
        assert!(ports[1].owner().has(port_flags::RESTING));
        assert!(ports[2].owner().has(port_flags::CLAIMED));
    }

    #[test]
    fn a_port_that_changed_hands_between_two_passes_is_left_alone() {
        let ports = [claimed(1)];
        let (mut first, mut second) = (Suspects::default(), Suspects::default());
        Suspects::default().look(4, &ports, &Named::default(), 50, &mut first);
        ports[0].rest(50);
        ports[0].take(ports[0].owner(), Owner::claimed(7, [0, 9]));
        assert_eq!(first.look(4, &ports, &Named::default(), 51, &mut second), 0);
        assert!(ports[0].owner().has(port_flags::CLAIMED));
    }
}
