//! A model of what should become of a frame against the program in the kernel: the same frames, the
//! same verdicts, bytes, counters and tables.
//!
//! `MQLB_DIFFERENTIAL_FRAMES=10000000` compares as many frames, `MQLB_DIFFERENTIAL_SEED` begins with
//! another seed; `MQLB_DIFFERENTIAL_EPOCH` repeats the epoch of the seed that a failure names.

mod model;
mod setup;
mod tables;
mod traffic;

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lb_common::{
    ticks,
    verdict::{Action, Verdict},
};
use lb_ebpf::host::{Bytes, Random, golden::Family};
use lb_tests::kernel::{Kernel, Program, assert_counted};
use lb_user::datapath::now;

use self::{
    model::{Choice, Model},
    setup::{Mode, Setup},
    traffic::Traffic,
};

/// Frames from one setup to the next.
const EPOCH: u64 = 10_000;
/// Frames from one change of brokers and slots to the next.
const UNTIL_CHANGE: u64 = 2_500;

const KINDS: [(Family, Mode); 8] = [
    (Family::V4, Mode::Nat),
    (Family::V6, Mode::Nat),
    (Family::V4, Mode::Dsr),
    (Family::V6, Mode::Dsr),
    (Family::V4, Mode::Ipip(Family::V4)),
    (Family::V4, Mode::Ipip(Family::V6)),
    (Family::V6, Mode::Ipip(Family::V4)),
    (Family::V6, Mode::Ipip(Family::V6)),
];

/// The clock of the data plane, by which entries grow old.
struct Clock {
    tick: u32,
    since: Instant,
}

impl Clock {
    /// More than a frame takes, and than a jiffy lasts, for which the program keeps a reading.
    const MARGIN: Duration = Duration::from_millis(15);

    /// Waits for the next tick.
    fn turned() -> Self {
        let before = now();
        while now() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Self::MARGIN);
        Self { tick: now(), since: Instant::now() }
    }

    /// A tick that is not about to end.
    fn tick(&mut self) -> u32 {
        if self.since.elapsed() + 2 * Self::MARGIN > ticks::to_duration(1) {
            *self = Self::turned();
        }
        self.tick
    }
}

/// What the model asks of the program.
struct Asked<'a> {
    kernel: &'a mut Kernel,
    exhausted_before: u64,
}

impl Choice for Asked<'_> {
    fn port(&mut self, client: SocketAddr) -> Option<u16> {
        tables::handshake_port(self.kernel, client)
    }

    fn found_none(&mut self) -> bool {
        let counted = self.kernel.verdicts().unwrap_or_default();
        let exhausted = counted.get(Verdict::PortsExhausted as usize);
        exhausted.is_some_and(|count| *count > self.exhausted_before)
    }
}

/// What came of an epoch that went on to its end.
struct Compared {
    verdicts: Vec<(Verdict, u64)>,
}

/// `None` if this program was held up so long that a tick ended during a frame: then nobody knows
/// what time it was for the program.
fn compare(
    kernel: &mut Kernel,
    clock: &mut Clock,
    (family, mode): (Family, Mode),
    seed: u64,
    each: bool,
) -> Result<Option<Compared>> {
    let mut random = Random(seed);
    let setup = Setup::any(family, mode, &mut random);
    ensure!(kernel.begin(&setup.world())?, "the program serves all setups");
    let mut traffic = Traffic::new(&setup, Random(random.next()));
    let mut model = Model::new(setup);
    for number in 0..EPOCH {
        if number > 0 && number % UNTIL_CHANGE == 0 {
            model.setup.change(&mut random);
            kernel.write(&model.setup.world())?;
            let ticks = random.pick(&[0, 1, 2, 5]);
            kernel.age(ticks)?;
            model.pass(ticks);
        }
        let input = Bytes(traffic.frame());
        if input.0.len() > 1300 {
            kernel.allow_answers()?;
        }
        model.now = clock.tick();
        let run = kernel.run_here(&input, 1)?;
        if now() != model.now {
            *clock = Clock::turned();
            return Ok(None);
        }
        let exhausted_before = model.count_of(Verdict::PortsExhausted);
        let (verdict, expected) = model.frame(&input.0, &mut Asked { kernel, exhausted_before });
        let what = || format!("frame {number}: {} for {:02x?}", verdict.name(), input.0);
        ensure!(run.action == kernel.xdp_action(verdict), "{}: action {}", what(), run.action);
        // What becomes of the bytes of a frame that is dropped does not matter.
        let is_same = run.output.0 == expected || verdict.action() == Action::Drop;
        ensure!(is_same, "{}:\n    {:02x?}\nnot {expected:02x?}", what(), run.output.0);
        if each {
            assert_counted(&kernel.verdicts()?, &counted(&model)).with_context(what)?;
            tables::compare(kernel, &model).with_context(what)?;
        }
        traffic.note(&input.0, &expected, verdict);
    }
    let verdicts = counted(&model);
    assert_counted(&kernel.verdicts()?, &verdicts)?;
    tables::compare(kernel, &model)?;
    Ok(Some(Compared { verdicts }))
}

fn counted(model: &Model) -> Vec<(Verdict, u64)> {
    Verdict::ALL.iter().map(|verdict| (*verdict, model.count_of(*verdict))).collect()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_program_does_with_every_frame_what_the_model_says() {
    let frames = number("MQLB_DIFFERENTIAL_FRAMES", 16 * EPOCH);
    let seed = number("MQLB_DIFFERENTIAL_SEED", 0x6d71_6c62);
    let mut random = Random(seed);
    let world = Setup::any(Family::V4, Mode::Nat, &mut random).world();
    let mut kernel = Kernel::load(&world, Program::Plain).unwrap();
    // For good: its routes are looked up in the namespace of the thread.
    kernel.enter().unwrap();
    let mut clock = Clock::turned();
    let start = Instant::now();
    let (mut compared, mut interrupted, mut epoch) = (0, 0, 0usize);
    let mut reached = vec![0; Verdict::ALL.len()];
    while compared < frames {
        let kind = KINDS[epoch % KINDS.len()];
        let seed = number("MQLB_DIFFERENTIAL_EPOCH", random.next());
        let mut once = |each| {
            compare(&mut kernel, &mut clock, kind, seed, each)
                .with_context(|| format!("{kind:?}, seed {seed:#x}, after {compared} frames"))
        };
        // A difference of counters or tables only shows at the end: then once more, step by step.
        let result = once(false).or_else(|error| once(true).and(Err(error)));
        let Some(result) = result.unwrap_or_else(|error| panic!("{error:?}")) else {
            interrupted += 1;
            continue;
        };
        result.verdicts.iter().for_each(|(verdict, count)| reached[*verdict as usize] += count);
        compared += EPOCH;
        epoch += 1;
    }
    let seconds = start.elapsed().as_secs_f32();
    println!("{compared} frames in {seconds:.1} s, no difference; {interrupted} epochs repeated");
    let never = Verdict::ALL.iter().filter(|verdict| reached[**verdict as usize] == 0);
    let never: Vec<_> = never.copied().collect();
    // There is always room in front of a frame here, the tables agree, and nothing is limited.
    let expected = [
        Verdict::NoHeadroom,
        Verdict::Inconsistent,
        Verdict::SourceDenied,
        Verdict::SourceLimited,
        Verdict::PrefixLimited,
        Verdict::BackendPaced,
        Verdict::BackendFullReset,
        Verdict::BackendFullDrop,
    ];
    let all_expected = never.iter().all(|verdict| expected.contains(verdict));
    assert!(
        frames < 16 * EPOCH || all_expected && never.len() == expected.len(),
        "verdicts that no frame had: {never:?}"
    );
}
