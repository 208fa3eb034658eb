//! A run: two CPUs with clients, the clock and the controller, as a seed says.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use lb_common::{ring::NO_BACKEND, verdict::Verdict};
use lb_ebpf::{host::Frame, process};

use super::{
    super::{
        schedule::{Schedule, quiet, rest, section},
        tell,
    },
    HORIZON, Rules,
    brokers::{Brokers, Health},
    clients::{Clients, Sent, Tally},
    controller::Controller,
    orders::Order,
    world::{Room, Shared},
};
use crate::ring::transition::Pace;

/// A run.
struct Run<'a> {
    shared: &'a Shared,
    clients: Mutex<Clients>,
    packets: AtomicU64,
    cpus: AtomicUsize,
}

/// Runs what a seed says.
pub(super) fn run(seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let small = random.bool();
    let mut room = || if small { random.usize(1..4) } else { 99 };
    let room = Room { pending: room(), flows: room(), learned: room() };
    let pending = [4, 15, 30][random.usize(..3)];
    let shared = &Shared::new(room, HORIZON, pending);
    let horizon = HORIZON + pending.min(HORIZON);
    let pace = Pace { horizon, rebase_after: [0, 25, 60][random.usize(..3)] };
    let mut controller = Controller::new(shared, Rules::ALL, pace, Brokers::new(random.u32(0..8)));
    controller.brokers.all[0].wanted = true;
    controller.brokers.all[1].wanted = true;
    change(&mut controller, &mut random);
    let run = &Run {
        shared,
        clients: Mutex::new(Clients::new(random.u8(1..5))),
        packets: AtomicU64::new(0),
        cpus: AtomicUsize::new(2),
    };
    let count = random.u32(20..120);
    let cpu = |mut random: fastrand::Rng| {
        move || {
            for _ in 0..count {
                if random.u8(..8) == 0 {
                    run.wait(&mut random);
                } else {
                    run.packet(|clients, shared| clients.next(shared, &mut random));
                }
            }
            run.cpus.fetch_sub(1, Relaxed);
        }
    };
    let (first, second) = (cpu(random.fork()), cpu(random.fork()));
    let mut orders = random.fork();
    let orders = move || {
        while run.cpus.load(Relaxed) > 0 {
            shared.patience.store(4, Relaxed);
            obey(&mut controller, shared, &mut orders);
            shared.patience.store(u32::MAX, Relaxed);
            let until = run.packets.load(Relaxed) + orders.u64(..20);
            while run.cpus.load(Relaxed) > 0 && run.packets.load(Relaxed) < until {
                rest();
            }
        }
    };
    Schedule::run(random, vec![Box::new(first), Box::new(second), Box::new(orders)]);
    let clients = run.clients.lock().unwrap();
    clients.tally.clone()
}

impl Run<'_> {
    /// A segment arrives.
    fn packet(&self, next: impl FnOnce(&mut Clients, &Shared) -> Sent) {
        section(|| {
            let sent = next(&mut self.clients.lock().unwrap(), self.shared);
            let (verdict, to) = send(self.shared, &sent.frame);
            tell(|| format!("{}: {sent:?}: {verdict:?}, to {to:?}", self.shared.time()));
            self.clients.lock().unwrap().judge(self.shared, &sent, verdict, to);
        });
        self.packets.fetch_add(1, Relaxed);
    }

    /// Time passes; mostly those speak before that would be silent for too long.
    fn wait(&self, random: &mut fastrand::Rng) {
        let ticks = [1, 1, 3, 6, 9, HORIZON + 1][random.usize(..6)];
        if random.u8(..8) > 0 {
            let due = self.clients.lock().unwrap().due(self.shared, self.shared.time() + ticks);
            for client in due {
                self.packet(|clients, shared| clients.speak(client, shared, random));
            }
        }
        // Far less than a tick passes while a packet is under way.
        quiet();
        self.shared.pass(ticks);
    }
}

/// Sends a segment to the VIP: its verdict, and which broker got it.
pub(super) fn send(shared: &Shared, frame: &Frame) -> (Verdict, Option<u16>) {
    let mut bytes = frame.bytes();
    let verdict = process(&mut bytes, &shared).verdict;
    let arrived = matches!(verdict, Verdict::ToBackend | Verdict::ToBackendUntracked);
    (verdict, arrived.then(|| u16::from_be_bytes([bytes.0[4], bytes.0[5]])))
}

/// What the controller does next.
fn obey(controller: &mut Controller<'_>, shared: &Shared, random: &mut fastrand::Rng) {
    let now = shared.time();
    let all = &mut controller.brokers.all;
    match Order::any(random) {
        Order::Sweep => {
            if controller.brokers.any_dead(now) {
                change(controller, random);
            }
            controller.clean();
            return controller.sweep(failing(random));
        }
        Order::SweepHandshakes => return controller.sweep_pending(),
        Order::Restart => return controller.restart(),
        Order::Wanted(broker) => all[broker].wanted = !all[broker].wanted,
        Order::Drained(broker) => all[broker].drained = !all[broker].drained,
        Order::Health(broker) if all[broker].health == Health::Up => {
            all[broker].health = Health::Down(now);
        }
        Order::Health(broker) => all[broker].health = Health::Up,
        Order::Weights => {}
    }
    change(controller, random);
}

/// Leads new flows to those that take them, some as before and some by chance.
fn change(controller: &mut Controller<'_>, random: &mut fastrand::Rng) {
    controller.give_numbers();
    let members = controller.brokers.members();
    let before = *controller.ring();
    let owners = before.map(|slot| {
        if members.contains(&slot.current()) && random.u8(..3) > 0 {
            slot.current()
        } else {
            random.choice(&members).copied().unwrap_or(NO_BACKEND)
        }
    });
    controller.change(owners, failing(random));
}

/// Now and then some edit fails.
fn failing(random: &mut fastrand::Rng) -> Option<usize> {
    (random.u8(..4) == 0).then(|| random.usize(..4))
}
