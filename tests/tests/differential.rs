//! The host library against the program in the kernel: the same frames, the same state, the same
//! verdicts, bytes and counters.
//!
//! `MQLB_DIFFERENTIAL_FRAMES` sets the number of frames (default 20,000), `MQLB_DIFFERENTIAL_SEED`
//! the seed.

use std::{
    env,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lb_common::{
    layout::sizes,
    ring::{SLOTS, Slot},
    ticks,
    verdict::Verdict,
};
use lb_ebpf::{
    host::{
        Bytes, Frame, World,
        golden::{Family, Net},
    },
    parse::tcp_flags::{ACK, FIN, RST, SYN},
};
use lb_tests::kernel::{Kernel, Program, assert_counted};
use lb_user::datapath::now;

/// A generator of test input: xorshift64* (Vigna, "An experimental exploration of Marsaglia's
/// xorshift generators").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What one client and its broker remember, so that most segments make sense.
#[derive(Clone, Copy)]
struct Talk {
    client: (IpAddr, u16),
    broker: (IpAddr, u16),
    source: (IpAddr, u16),
    client_next: u32,
    broker_next: u32,
}

/// The clock of the data plane, by which the program chooses source ports.
struct Clock {
    tick: u32,
    since: Instant,
}

impl Clock {
    /// Far less than a tick, and far more than a frame takes.
    const MARGIN: Duration = Duration::from_millis(100);

    /// Waits for the next tick.
    fn turned() -> Self {
        let before = now();
        while now() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { tick: now(), since: Instant::now() }
    }

    /// A tick that is not about to end.
    fn tick(&mut self) -> u32 {
        if self.since.elapsed() + Self::MARGIN > ticks::to_duration(1) {
            *self = Self::turned();
        }
        self.tick
    }
}

struct Traffic {
    net: Net,
    random: Random,
    talks: Vec<Talk>,
}

impl Traffic {
    /// The next frame: mostly a plausible one, sometimes with a byte changed or cut short.
    fn frame(&mut self) -> Bytes {
        let mut bytes = self.plausible().bytes();
        match self.random.below(16) {
            0 => {
                let at = 12 + self.random.below(bytes.0.len() as u64 - 12) as usize;
                // Not the source of an IPv6 packet: the world in memory has no route to strangers.
                if self.net.0 == Family::V4 || !(22..38).contains(&at) {
                    bytes.0[at] = self.random.next() as u8;
                }
            }
            1 => {
                let len = 14 + self.random.below(bytes.0.len() as u64 - 13) as usize;
                bytes.0.truncate(len);
            }
            _ => {}
        }
        bytes
    }

    fn plausible(&mut self) -> Frame {
        if self.talks.is_empty() || self.random.below(4) == 0 {
            return self.opening();
        }
        let talk = self.random.pick(&self.talks);
        let flags =
            self.random.pick(&[ACK, ACK, ACK, ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, SYN]);
        let payload = vec![0x5a; self.random.below(40) as usize];
        let jitter = self.random.pick(&[0, 0, 0, 0, 1, 70_000, 0x8000_0000, u32::MAX]);
        let ttl = self.random.pick(&[64, 64, 64, 64, 64, 64, 2, 1]);
        if self.random.below(2) == 0 {
            Frame {
                sequence: talk.client_next.wrapping_add(jitter),
                acknowledgement: talk.broker_next,
                payload,
                ttl,
                ..Frame::new(talk.client, self.net.vip(), flags)
            }
        } else {
            Frame {
                sequence: talk.broker_next.wrapping_add(jitter),
                acknowledgement: talk.client_next,
                payload,
                ttl,
                ..Frame::new(talk.broker, talk.source, flags)
            }
        }
    }

    fn opening(&mut self) -> Frame {
        let port = 20_000 + self.random.below(400) as u16;
        let client = (self.net.client(1 + self.random.below(9) as u8).0, port);
        let options = vec![1; 4 * self.random.below(4) as usize];
        let sequence = self.random.next() as u32;
        Frame { sequence, options, ..Frame::new(client, self.net.vip(), SYN) }
    }

    /// Learns from what was sent where.
    fn note(&mut self, input: &Bytes, output: &Bytes, verdict: Verdict) {
        let (Ok(before), Ok(after)) =
            (lb_ebpf::parse::segment(input), lb_ebpf::parse::segment(output))
        else {
            return;
        };
        let port = |bytes: [u8; 2]| u16::from_be_bytes(bytes);
        if verdict == Verdict::ToBackend && before.opens() {
            if self.talks.len() > 300 {
                let drop = self.random.below(300) as usize;
                self.talks.swap_remove(drop);
            }
            self.talks.push(Talk {
                client: (before.source.into(), port(before.source_port)),
                broker: (after.destination.into(), port(after.destination_port)),
                source: (after.source.into(), port(after.source_port)),
                client_next: before.next_sequence(),
                broker_next: self.random.next() as u32,
            });
        }
        if verdict == Verdict::ToClient {
            let from = (IpAddr::from(before.destination), port(before.destination_port));
            for talk in self.talks.iter_mut().filter(|talk| talk.source == from) {
                talk.broker_next = before.next_sequence();
            }
        }
    }
}

fn world(net: Net, random: &mut Random) -> World {
    let mut world = net.world();
    world.settings.ports = sizes::PORTS as u16;
    // Longer than the test lasts: what is pending stays so.
    world.settings.pending_ticks = 10_000;
    world.pending_room = 600;
    world.flows_room = 500;
    for slot in 0..SLOTS as u32 {
        let slots = [Slot::stable(1), Slot::stable(2), Slot::stable(1), Slot::EMPTY];
        let choice = if random.below(50) == 0 { slots[3] } else { random.pick(&slots[..3]) };
        world.slots.insert((Net::SERVICE, slot), choice);
    }
    world
}

/// Whether it came to its end. If this program was held up so long that the tick ended during a
/// frame, nobody knows by which tick the program chose a source port.
fn compare(family: Family, frames: u64, seed: u64) -> Result<bool> {
    let net = Net(family);
    let mut random = Random(seed);
    let world = world(net, &mut random);
    let mut kernel = Kernel::load(&world, Program::Plain)?;
    let mut clock = Clock::turned();
    let mut traffic = Traffic { net, random, talks: Vec::new() };
    for number in 0..frames {
        let input = traffic.frame();
        let mut expected = input.clone();
        let tick = clock.tick();
        let run = kernel.run(&input, 1)?;
        if now() != tick {
            return Ok(false);
        }
        world.now.set(tick);
        let verdict = world.run(&mut expected).verdict;
        let what = || format!("frame {number}: {} for {input:?}", verdict.name());
        ensure!(run.action == kernel.xdp_action(verdict), "{}: action {}", what(), run.action);
        ensure!(run.output == expected, "{}: {:?}\nnot {expected:?}", what(), run.output);
        traffic.note(&input, &expected, verdict);
    }
    let counted: Vec<_> = Verdict::ALL.iter().map(|v| (*v, world.count_of(*v))).collect();
    assert_counted(&kernel.verdicts()?, &counted)?;
    for backend in [1, 2] {
        ensure!(kernel.counters_of(backend)? == world.counters_of(backend), "backend {backend}");
    }
    let reached = counted.iter().filter(|(_, count)| *count > 0).count();
    ensure!(frames < 10_000 || reached >= 14, "only {reached} verdicts were reached: {counted:?}");
    Ok(true)
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn host_and_kernel_agree_on_every_frame() {
    let frames = number("MQLB_DIFFERENTIAL_FRAMES", 20_000);
    let seed = number("MQLB_DIFFERENTIAL_SEED", 0x6d71_6c62);
    for family in [Family::V4, Family::V6] {
        let compare = || {
            compare(family, frames, seed)
                .with_context(|| format!("{family:?}, MQLB_DIFFERENTIAL_SEED={seed}"))
                .unwrap()
        };
        while !compare() {}
    }
}
