//! Actors that run by turns: one at a time, in an order that a seed decides.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

/// More steps than any run needs.
const MOST_STEPS: u64 = 100_000;

/// Whose turn it is, and what each actor is in the middle of.
#[derive(Debug)]
pub(super) struct Schedule {
    turn: Mutex<Turn>,
    turned: Vec<Condvar>,
}

#[derive(Debug)]
struct Turn {
    current: usize,
    /// The turn passes on at one step of this many.
    length: u32,
    steps: u64,
    running: Vec<bool>,
    /// By actor: how many sections it has begun, and whether it is in one.
    sections: Vec<(u64, bool)>,
    random: fastrand::Rng,
}

thread_local! {
    static ACTOR: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) };
    static IS_WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// A step of the actor that this thread is, if it is one: before it, others may have their turn.
pub(super) fn step() {
    if !IS_WATCHING.get() {
        with_actor(|schedule, id| schedule.pass(id, false));
    }
}

/// Does `work`, which only watches the others, without a step.
pub(super) fn without_steps<T>(work: impl FnOnce() -> T) -> T {
    IS_WATCHING.set(true);
    let result = work();
    IS_WATCHING.set(false);
    result
}

/// Does `work` as one section: see [`grace`].
pub(super) fn section<T>(work: impl FnOnce() -> T) -> T {
    with_actor(|schedule, id| {
        let mut turn = schedule.lock();
        turn.sections[id] = (turn.sections[id].0 + 1, true);
    });
    step();
    let result = work();
    with_actor(|schedule, id| schedule.lock().sections[id].1 = false);
    result
}

/// Lets another actor go on.
pub(super) fn rest() {
    with_actor(|schedule, id| schedule.pass(id, true));
}

/// Waits until every other actor has left the section that it is in now.
pub(super) fn grace() {
    with_actor(|schedule, id| {
        let before = schedule.lock().sections.clone();
        let is_through = |turn: &Turn, other: usize| {
            other == id || !before[other].1 || turn.sections[other] != before[other]
        };
        while !(0..before.len()).all(|other| is_through(&schedule.lock(), other)) {
            schedule.pass(id, true);
        }
    });
}

/// Waits until no other actor is in a section.
pub(super) fn quiet() {
    with_actor(|schedule, id| {
        let is_busy = |turn: &Turn| (0..).zip(&turn.sections).any(|(other, s)| other != id && s.1);
        while is_busy(&schedule.lock()) {
            schedule.pass(id, true);
        }
    });
}

/// How many steps were made so far.
pub(super) fn time() -> u64 {
    let mut time = 0;
    with_actor(|schedule, _| time = schedule.lock().steps);
    time
}

fn with_actor(work: impl FnOnce(&Schedule, usize)) {
    let actor = ACTOR.with_borrow(Clone::clone);
    if let Some((schedule, id)) = actor {
        work(&schedule, id);
    }
}

impl Schedule {
    /// Runs `actors` to their ends.
    pub(super) fn run(mut random: fastrand::Rng, actors: Vec<Box<dyn FnOnce() + Send + '_>>) {
        let count = actors.len();
        let turn = Turn {
            current: random.usize(..count),
            length: 1 << random.u32(1..6),
            steps: 0,
            running: vec![true; count],
            sections: vec![(0, false); count],
            random,
        };
        let turned = (0..count).map(|_| Condvar::new()).collect();
        let schedule = Arc::new(Self { turn: Mutex::new(turn), turned });
        std::thread::scope(|scope| {
            for (id, actor) in actors.into_iter().enumerate() {
                let schedule = Arc::clone(&schedule);
                scope.spawn(move || {
                    ACTOR.set(Some((Arc::clone(&schedule), id)));
                    let end = End(schedule, id);
                    end.0.wait(id, end.0.lock());
                    actor();
                });
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap()
    }

    fn wait(&self, id: usize, turn: MutexGuard<'_, Turn>) {
        drop(self.turned[id].wait_while(turn, |turn| turn.current != id).unwrap());
    }

    fn pass(&self, id: usize, must: bool) {
        let mut turn = self.lock();
        turn.steps += 1;
        assert!(turn.steps < MOST_STEPS, "an actor waits for ever");
        let length = turn.length;
        if (must || turn.random.u32(..length) == 0) && self.choose(&mut turn, id) {
            self.wait(id, turn);
        }
    }

    /// Gives the turn to another actor; false if there is none.
    fn choose(&self, turn: &mut Turn, id: usize) -> bool {
        let others: Vec<usize> =
            (0..turn.running.len()).filter(|other| *other != id && turn.running[*other]).collect();
        let Some(next) = turn.random.choice(others) else { return false };
        turn.current = next;
        self.turned[next].notify_one();
        true
    }
}

/// Lets the others go on when an actor ends, even by a panic.
struct End(Arc<Schedule>, usize);

impl Drop for End {
    fn drop(&mut self) {
        ACTOR.set(None);
        let Self(schedule, id) = self;
        // Poisoned by a panic in `pass`: the run has failed, and the others fail as well.
        let mut turn = schedule.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turn.running[*id] = false;
        turn.sections[*id].1 = false;
        schedule.choose(&mut turn, *id);
    }
}
