//! Numbers of services and peers that were looked up before.
//!
//! A look-up in the kernel's hash costs several function calls, and every packet begins with one:
//! of a client's for its service, of a broker's for its peer. Each CPU keeps the numbers it has
//! found. They hold as long as the generation does, which the controller raises whenever it adds
//! or removes a service or a peer.

use lb_common::{backend::PeerKey, service::ServiceKey};

/// Number of services that each CPU keeps; a power of two.
pub const SERVICES: usize = 256;
/// Number of peers that each CPU keeps; a power of two.
pub const PEERS: usize = 1024;

/// A key of so many words, and its number. All zero is none: no service has
/// protocol 0, and no peer is `::`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Known<const WORDS: usize> {
    words: [u64; WORDS],
    id: u32,
    generation: u32,
}

/// A service.
pub type KnownService = Known<3>;
/// A peer.
pub type KnownPeer = Known<5>;

const _: () = assert!(size_of::<KnownService>() == 32 && size_of::<KnownPeer>() == 48);

/// The key of a service in words. As a struct of bytes, LLVM would read it from the stack at places
/// that the verifier does not allow.
#[inline(always)]
#[must_use]
pub const fn service(key: &ServiceKey) -> [u64; 3] {
    let [a, b] = key.vip.words();
    [a, b, u16::from_be_bytes(key.port) as u64 | (key.protocol as u64) << 16]
}

/// The key of a peer in words.
#[inline(always)]
#[must_use]
pub const fn peer(key: &PeerKey) -> [u64; 5] {
    let ([a, b], [c, d]) = (key.broker.words(), key.source.words());
    [a, b, c, d, u16::from_be_bytes(key.port) as u64]
}

/// The place, of `places`, where the number of this key is kept.
#[inline(always)]
#[must_use]
pub fn place<const WORDS: usize>(words: &[u64; WORDS], places: usize) -> u32 {
    let mut mixed = 0u64;
    for word in words {
        // Keys differ in few bits, and in different words in the same ones.
        mixed = mixed.rotate_left(7) ^ *word;
    }
    // The last octet of an IPv4 address lies on top, where a product does not spread it. The factor
    // is the golden ratio in 64 bits.
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u32 % places as u32
}

/// The number of the key: the one kept in `cell`, if it is of this generation, else what `ask` says.
#[inline(always)]
pub fn id<const WORDS: usize>(
    cell: &mut Known<WORDS>,
    words: &[u64; WORDS],
    generation: u32,
    ask: impl FnOnce() -> Option<u32>,
) -> Option<u32> {
    if cell.generation == generation && same(&cell.words, words) {
        return Some(cell.id);
    }
    let id = ask()?;
    *cell = Known { words: *words, id, generation };
    Some(id)
}

/// Equality without `bcmp`, which the compiler calls for more than some words, and BPF has not.
#[inline(always)]
fn same<const WORDS: usize>(a: &[u64; WORDS], b: &[u64; WORDS]) -> bool {
    let differences = a.iter().zip(b).map(|(a, b)| a ^ b);
    differences.fold(0, |all, difference| all | difference) == 0
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Addr;

    use super::*;

    const KEY: [u64; 3] = service(&ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), [0x07, 0x5b]));
    const OTHER: [u64; 3] = service(&ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), [0x22, 0xb3]));

    fn filled() -> KnownService {
        let mut cell = Known { words: [0; 3], id: 0, generation: 0 };
        assert_eq!(id(&mut cell, &KEY, 5, || Some(7)), Some(7));
        cell
    }

    #[test]
    fn what_is_known_of_this_generation_is_not_asked_for_again() {
        assert_eq!(id(&mut filled(), &KEY, 5, || panic!("asked again")), Some(7));
    }

    #[test]
    fn with_a_new_generation_it_is_asked_for_again() {
        let mut cell = filled();
        assert_eq!(id(&mut cell, &KEY, 6, || Some(8)), Some(8));
        assert_eq!(id(&mut cell, &KEY, 6, || panic!("asked again")), Some(8));
    }

    #[test]
    fn another_key_at_the_same_place_is_asked_for() {
        assert_eq!(id(&mut filled(), &OTHER, 5, || Some(9)), Some(9));
    }

    #[test]
    fn that_there_is_nothing_is_not_kept() {
        let mut cell = filled();
        assert_eq!(id(&mut cell, &OTHER, 5, || None), None);
        assert_eq!(id(&mut cell, &OTHER, 5, || Some(1)), Some(1));
    }

    #[test]
    fn neighbours_do_not_share_a_place() {
        let places = (1..=20).map(|host| {
            let key = ServiceKey::tcp(Addr::v4([192, 0, 2, host]), [0x07, 0x5b]);
            place(&service(&key), SERVICES)
        });
        let distinct: std::collections::BTreeSet<u32> = places.collect();
        assert!(distinct.len() >= 16, "{distinct:?}");
    }
}
