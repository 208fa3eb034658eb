//! Routes that were looked up a moment ago.
//!
//! The kernel's look-up (`bpf_fib_lookup`) takes longer than all the rest of the pipeline, and its
//! answer is the same for every packet to a broker, or to a client. Each CPU keeps the last answer
//! for some pairs of addresses, for less than a second: a changed route or neighbour is seen after
//! that. Answers that do not lead anywhere are never kept.

use lb_common::addr::Addr;

use crate::{
    known,
    packet::Ethernet,
    tables::{Route, RouteKind, RouteQuery},
};

/// Number of answers that each CPU keeps; a power of two.
pub const CACHED: usize = 1024;

/// How long an answer is kept, in jiffies: 0.064 s at 1000 a second, 0.64 s at 100.
const LIFE_JIFFIES: u32 = 64;

/// An answer and what it was asked for. All zero is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CachedRoute {
    destination: Addr,
    source: Addr,
    ethernet: Ethernet,
    ifindex: u32,
    /// The jiffy of the look-up.
    since: u32,
    mtu: u16,
    tos: u8,
    on_link: u8,
}

const _: () = assert!(size_of::<CachedRoute>() == 56);

/// The place where the answer to `query` is kept.
#[inline(always)]
#[must_use]
pub fn place(query: &RouteQuery) -> u32 {
    let [a, b] = query.destination.words();
    let [c, d] = query.source.words();
    known::place(&[a, b, c, d], CACHED)
}

/// The way on: the answer kept in `cell`, if it is for this query and of late, else what `ask` says.
#[inline(always)]
pub fn of(
    cell: &mut CachedRoute,
    query: &RouteQuery,
    jiffies: u32,
    ask: impl FnOnce() -> Route,
) -> Route {
    let known = cell.ifindex != 0
        && cell.destination == query.destination
        && cell.source == query.source
        && cell.tos == query.tos
        && query.ip_len <= cell.mtu
        && jiffies.wrapping_sub(cell.since) < LIFE_JIFFIES;
    if known {
        return Route {
            kind: RouteKind::Via,
            ifindex: cell.ifindex,
            ethernet: cell.ethernet,
            mtu: cell.mtu,
            on_link: cell.on_link != 0,
        };
    }
    let route = ask();
    if route.kind == RouteKind::Via {
        let Route { ifindex, ethernet, mtu, on_link, .. } = route;
        *cell = CachedRoute {
            destination: query.destination,
            source: query.source,
            ethernet,
            ifindex,
            since: jiffies,
            mtu,
            tos: query.tos,
            on_link: u8::from(on_link),
        };
    }
    route
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const QUERY: RouteQuery = RouteQuery {
        source: Addr::v4([10, 0, 0, 1]),
        destination: Addr::v4([10, 0, 0, 2]),
        tos: 0,
        ip_len: 1500,
    };
    const VIA: Route = Route {
        kind: RouteKind::Via,
        ifindex: 7,
        ethernet: Ethernet { destination: [1, 2, 3], source: [4, 5, 6] },
        mtu: 1500,
        on_link: true,
    };
    const ELSEWHERE: Route = Route::NO_NEIGHBOUR;

    fn filled() -> CachedRoute {
        let mut cell = CachedRoute::default();
        assert_eq!(of(&mut cell, &QUERY, 1_000, || VIA), VIA);
        cell
    }

    #[test]
    fn neighbours_have_places_of_their_own() {
        let v4 = |host| Addr::v4([10, 0, 0, host]);
        let v6 = |host: u8| Addr::from_words([0xfd, u64::from(host) << 56]);
        let places = |address: &dyn Fn(u8) -> Addr| {
            let queries = (0..=255).map(|host| RouteQuery { destination: address(host), ..QUERY });
            queries.map(|query| place(&query)).collect::<BTreeSet<_>>().len()
        };
        // By chance it would be 226.
        assert!(places(&v4) > 200, "{}", places(&v4));
        assert!(places(&v6) > 200, "{}", places(&v6));
    }

    #[test]
    fn a_late_answer_is_not_asked_for_again() {
        let last = 1_000 + LIFE_JIFFIES - 1;
        assert_eq!(of(&mut filled(), &QUERY, last, || panic!("asked again")), VIA);
    }

    #[test]
    fn an_old_answer_is_asked_for_again() {
        assert_eq!(of(&mut filled(), &QUERY, 1_000 + LIFE_JIFFIES, || ELSEWHERE), ELSEWHERE);
        assert_eq!(of(&mut filled(), &QUERY, 999, || ELSEWHERE), ELSEWHERE, "or one to come");
    }

    #[test]
    fn another_question_is_asked() {
        for query in [
            RouteQuery { source: Addr::v4([10, 0, 0, 9]), ..QUERY },
            RouteQuery { destination: Addr::v4([10, 0, 0, 9]), ..QUERY },
            RouteQuery { tos: 8, ..QUERY },
            RouteQuery { ip_len: 1501, ..QUERY },
        ] {
            assert_eq!(of(&mut filled(), &query, 1_000, || ELSEWHERE), ELSEWHERE);
        }
    }

    #[test]
    fn an_answer_that_leads_nowhere_is_not_kept() {
        let mut cell = CachedRoute::default();
        for route in [Route::NO_NEIGHBOUR, Route::too_big(1400), Route::NONE] {
            assert_eq!(of(&mut cell, &QUERY, 0, || route), route);
        }
        assert_eq!(of(&mut cell, &QUERY, 0, || VIA), VIA);
    }
}
