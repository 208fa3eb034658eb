//! Modes in which brokers answer directly, with the program in the kernel and the controller as it
//! is: the clients and the orders of `interleaved::direct`, which says what is promised, one packet
//! after the other.
//!
//! Ticks pass by making everything in the tables older. `CONSISTENCY_RUNS=100` tries as many runs,
//! `CONSISTENCY_RUN=7` one of them.

mod plane;
mod stage;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
};

use lb_common::{addr::Addr, backend::backend_flags::FORWARD, verdict::Verdict};
use lb_ebpf::host::golden::Net;

use self::{
    plane::{Plane, tick},
    stage::{address, broker, configure, make_network, start, start_again},
};
use super::{
    super::interleaved::direct::{
        clients::{Around, Clients, Happened, Sent, Tally},
        orders::{BROKERS, Order},
    },
    *,
};
use crate::{
    config::model::Weight,
    control::controller::{Controller, Origin},
    health::checker::HealthEvent,
};

/// Ticks in which every client speaks. The balancer waits for longer: ticks also pass by
/// themselves, between a packet and what is noted of it, however long this program is held up.
const HORIZON: u32 = 20;
const IDLE_S: u32 = HORIZON + 30;
const SERVICE_NAME: &str = "mqtt";

struct Run {
    directory: PathBuf,
    xdp: Arc<Mutex<Plane>>,
    /// `None` while nobody is in control.
    controller: Option<Controller>,
    happened: Happened,
    drained: [bool; BROKERS],
    /// Numbers of those that are down.
    down: BTreeSet<u32>,
    /// Which one a broker is, as they came: one that was given up comes again as another.
    arrivals: [u16; BROKERS],
    seen: u16,
    clients: Clients,
}

impl Around for Run {
    fn time(&self) -> u32 {
        tick()
    }

    fn horizon(&self) -> u32 {
        HORIZON
    }

    fn events(&self) -> &Happened {
        &self.happened
    }
}

impl Run {
    fn new(directory: &Path, pin_dir: &Path, random: &mut fastrand::Rng) -> Self {
        configure(directory, pin_dir, random);
        let (xdp, controller) = start(directory, Origin::Fresh);
        let mut run = Self {
            directory: directory.to_owned(),
            xdp,
            controller: Some(controller),
            happened: Happened::default(),
            drained: [false; BROKERS],
            down: BTreeSet::new(),
            arrivals: [1, 2, 3, 4],
            seen: BROKERS as u16,
            clients: Clients::new(random.u8(20..200)),
        };
        run.prove(&BTreeMap::new(), random);
        run
    }

    /// The brokers whose connections are forwarded, by number.
    fn serving(&self) -> BTreeMap<u32, Addr> {
        let plane = self.xdp.lock().unwrap();
        let serving = plane.xdp().known.backends.iter().filter(|(_, it)| it.flags & FORWARD != 0);
        serving.map(|(id, backend)| (*id, backend.address)).collect()
    }

    fn number_of(&self, broker: usize) -> Option<u32> {
        let address = Addr::v4(address(broker));
        self.serving().into_iter().find(|(_, it)| *it == address).map(|(id, _)| id)
    }

    /// Carries an order out, and takes note of what clients may notice of it.
    fn obey(&mut self, order: Order, random: &mut fastrand::Rng) {
        tell(|| format!("{}: {order:?}, {:?} serve", self.time(), self.serving()));
        let before = self.serving();
        let entries = self.xdp.lock().unwrap().keys();
        // Who is given up stays so, even if an edit fails: see `interleaved`. Whoever is down may be.
        let gives_up = !self.down.is_empty() || matches!(order, Order::Wanted(_) | Order::Restart);
        let may_fail = !gives_up && !matches!(order, Order::Sweep);
        let failing = (may_fail && random.u8(..4) == 0).then(|| random.u32(..3));
        self.xdp.lock().unwrap().failing = failing;
        self.carry_out(order, random);
        self.xdp.lock().unwrap().failing = None;
        self.happened.changes.fetch_add(2, Relaxed);
        let left = self.xdp.lock().unwrap().keys();
        for mut key in entries.into_iter().filter(|key| !left.contains(key)) {
            key.service = Net::SERVICE;
            *self.happened.collected.lock().unwrap().entry(key).or_default() += 1;
        }
        self.prove(&before, random);
        self.note_gone(&before);
        self.check_what_is_known();
    }

    fn carry_out(&mut self, order: Order, random: &mut fastrand::Rng) {
        if let Order::Restart = order {
            self.controller = None;
            // The program and its tables stay, pinned.
            let taken_over = start_again(&self.directory, &mut self.xdp);
            self.controller = Some(taken_over);
            return;
        }
        let number = match order {
            Order::Health(broker) => self.number_of(broker),
            _ => None,
        };
        let Some(controller) = &mut self.controller else { return };
        // What is refused, or fails, is as it was: that is checked by the packets.
        let _ = match order {
            Order::Sweep => {
                (0..10).for_each(|_| controller.tick());
                return;
            }
            Order::SweepHandshakes | Order::Restart => return controller.tick(),
            Order::Wanted(at) if number_is_known(controller, at) => {
                controller.remove_backend(SERVICE_NAME, &format!("b{at}"))
            }
            Order::Wanted(at) => controller.add_backend(SERVICE_NAME, &broker(at)),
            Order::Drained(at) => {
                self.drained[at] = !self.drained[at];
                controller.drain(SERVICE_NAME, &format!("b{at}"), self.drained[at])
            }
            Order::Health(_) => {
                let Some(backend) = number else { return };
                let up = random.bool();
                if up {
                    self.down.remove(&backend);
                } else {
                    self.down.insert(backend);
                }
                let event = HealthEvent { backend, up, reason: "an order".into() };
                return controller.note_health(&[event]);
            }
            Order::Weights => {
                let weight = Weight::new(random.u16(1..200)).unwrap();
                let name = format!("b{}", random.usize(..BROKERS));
                controller.weigh(SERVICE_NAME, &name, weight)
            }
        };
    }

    /// Of a broker whose open connections are said to be known, each one is in a table.
    fn check_what_is_known(&self) {
        let Some(controller) = &self.controller else { return };
        let reports = controller.service_reports().unwrap();
        let known = reports[0].backends.iter().filter(|it| it.open_known_in_s == Some(0));
        let addresses: Vec<_> = known.map(|backend| Addr::from(backend.address)).collect();
        let is_known = |broker: usize| addresses.contains(&Addr::v4(address(broker)));
        let known: Vec<u16> =
            (0..BROKERS).filter(|at| is_known(*at)).map(|at| self.arrivals[at]).collect();
        let plane = self.xdp.lock().unwrap();
        for (key, peer) in self.clients.connected(self).filter(|(_, peer)| known.contains(peer)) {
            let key = FlowKey { service: 0, ..key };
            let found = plane.xdp().flow(&key).unwrap().or(plane.xdp().learned_flow(&key).unwrap());
            assert!(found.is_some(), "{key:?} of broker {peer} is not known");
        }
    }

    /// Those that lost their connections come as others, if they come again.
    fn note_gone(&mut self, before: &BTreeMap<u32, Addr>) {
        let now = self.serving();
        self.down.retain(|id| now.contains_key(id));
        for (id, lost) in before.iter().filter(|(id, address)| now.get(*id) != Some(*address)) {
            let broker = (0..BROKERS).find(|broker| Addr::v4(address(*broker)) == *lost);
            let broker = broker.unwrap_or_else(|| panic!("backend {id} is a broker of the run"));
            self.happened.gone.lock().unwrap().insert(self.arrivals[broker]);
            self.seen += 1;
            self.arrivals[broker] = self.seen;
        }
    }

    /// Mostly who is new comes up at once.
    fn prove(&mut self, before: &BTreeMap<u32, Addr>, random: &mut fastrand::Rng) {
        let new: Vec<u32> =
            self.serving().into_keys().filter(|id| !before.contains_key(id)).collect();
        let Some(controller) = &mut self.controller else { return };
        for backend in new {
            if random.u8(..4) > 0 {
                let event = HealthEvent { backend, up: true, reason: "an order".into() };
                controller.note_health(&[event]);
            }
        }
    }

    fn packet(&mut self, next: impl FnOnce(&mut Clients, &Self) -> Sent) {
        let mut clients = std::mem::replace(&mut self.clients, Clients::new(0));
        let sent = next(&mut clients, self);
        let (verdict, to) = self.send(&sent);
        tell(|| {
            let plane = self.xdp.lock().unwrap();
            format!(
                "{}: {sent:?}: {verdict:?}, to {to:?}; {}",
                self.time(),
                plane.place(&sent.frame)
            )
        });
        if matches!(verdict, Verdict::ToBackendUntracked | Verdict::FlowsFull) {
            self.happened.full.fetch_add(1, Relaxed);
        }
        clients.judge(self, &sent, verdict, to);
        self.clients = clients;
    }

    /// Sends a segment: its verdict, and which broker gets it.
    fn send(&self, sent: &Sent) -> (Verdict, Option<u16>) {
        let mut plane = self.xdp.lock().unwrap();
        let (verdict, output) = plane.run(&sent.frame.bytes().0);
        let arrived = matches!(verdict, Verdict::ToBackend | Verdict::ToBackendUntracked);
        let to = usize::from(output[5]).wrapping_sub(11);
        (verdict, arrived.then(|| self.arrivals[to]))
    }

    /// Time passes; mostly those speak before that would be silent for too long.
    fn wait(&mut self, random: &mut fastrand::Rng) {
        let ticks = [1, 1, 3, 6, 9, HORIZON + 1][random.usize(..6)];
        if random.u8(..8) > 0 {
            for client in self.clients.due(self, self.time() + ticks) {
                self.packet(|clients, around| clients.speak(client, around, random));
            }
        }
        self.xdp.lock().unwrap().pass(ticks);
    }
}

/// Whether the service has this broker now.
fn number_is_known(controller: &Controller, at: usize) -> bool {
    let reports = controller.service_reports().unwrap();
    reports[0].backends.iter().any(|backend| backend.name == *format!("b{at}"))
}

/// Plays what a seed says.
fn play(pin_dir: &Path, seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut run = Run::new(directory.path(), pin_dir, &mut random);
    for _ in 0..random.u32(20..60) {
        let order = Order::any(&mut random);
        run.obey(order, &mut random);
        for _ in 0..random.u32(0..300) {
            if random.u8(..32) == 0 {
                run.wait(&mut random);
            } else {
                run.packet(|clients, around| clients.next(around, &mut random));
            }
        }
    }
    drop(run.controller);
    run.xdp.lock().unwrap().let_go();
    Xdp::detach_all(pin_dir).unwrap();
    run.clients.tally
}

/// Tells what happens, if only one run is played.
fn tell(what: impl FnOnce() -> String) {
    if number("CONSISTENCY_RUN").is_some() {
        println!("{}", what());
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn in_the_kernel_no_connection_leaves_its_broker_whatever_is_ordered() {
    in_a_sandbox("consistency", |pin_dir| {
        make_network();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let seeds = number("CONSISTENCY_RUN")
            .map_or_else(|| 0..number("CONSISTENCY_RUNS").unwrap_or(4), |seed| seed..seed + 1);
        let mut total = Tally::default();
        for seed in seeds {
            println!("CONSISTENCY_RUN={seed}");
            total.add(&play(pin_dir, seed));
        }
        println!("{total:?}");
        let lost: u64 = total.lost.values().sum();
        // Many clients are in the middle of a handshake whenever something is ordered.
        assert!(total.established > 100 && lost * 10 <= total.established, "{total:?}");
    });
}
