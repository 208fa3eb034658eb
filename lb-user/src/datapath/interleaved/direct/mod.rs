//! Modes in which brokers answer directly: connections stay with their broker through all changes.
//!
//! The controller changes the brokers, their health and the ring in any order, fails half-way, and
//! is taken over; clients open, repeat, speak, fall silent, close and come back from the same port;
//! others forge segments in their name. The ring has a few slots, and the tables may be small.
//!
//! # What is promised
//!
//! A client has a connection with a broker once its acknowledgement of that broker's SYN-ACK, or
//! its first data, has arrived there. From then on each of its segments arrives at that broker, and
//! none is refused, as long as
//!
//! - it sends a segment other than FIN or RST at least once per horizon,
//! - the broker is neither removed nor given up after its grace.
//!
//! A handshake may be lost: the acknowledgement goes to another broker, which resets it, and the
//! client opens anew. That must not happen unless something came between its first SYN and its
//! acknowledgement: a change of the tables, time (a handshake, or an older connection from the same
//! port, is forgotten), a table without room, a forged SYN in its name, or the collection of an
//! entry under its key. Everything else is a failure. These losses are rare and are counted.
//!
//! # What is not
//!
//! - A client's own SYN that arrives after the acknowledgement of its SYN-ACK: no balancer can tell
//!   it from a new connection from that port. Segments of a flow do not overtake its SYN here.
//! - A forged SYN and a forged segment that fits it, of a connection that nobody tracks, on a slot
//!   in transition: those are a new connection by all that a balancer sees that gets one direction.
//!   Forged segments fit no SYN here.
//! - Time: a packet is through within a tick, and the controller with a change within some.

mod brokers;
pub(in super::super) mod clients;
mod controller;
pub(in super::super) mod orders;
mod rules;
mod run;
mod world;

use std::sync::Mutex;

use self::clients::Tally;
use super::try_orders;

/// Ticks in which every client speaks.
const HORIZON: u32 = 20;

/// The rules that the controller of a run keeps: without one, `rules` shows what breaks.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Slots that still have entries are looked up.
    looks_up: bool,
    /// After a swap it waits for the packets under way.
    swap_waits: bool,
    /// A broker that is down keeps its connections for a while.
    grace: bool,
}

impl Rules {
    const ALL: Self = Self { looks_up: true, swap_waits: true, grace: true };
}

#[test]
fn in_no_order_of_steps_a_connection_leaves_its_broker() {
    let total = Mutex::new(Tally::default());
    try_orders(1000, |seed| total.lock().unwrap().add(&run::run(seed)));
    let total = total.into_inner().unwrap();
    println!("{total:?}");
    let lost: u64 = total.lost.values().sum();
    assert!(lost * 20 <= total.established, "handshakes are lost too often: {total:?}");
}
