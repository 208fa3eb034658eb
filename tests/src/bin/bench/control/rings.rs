//! Which ring is in place, watched from outside.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use lb_common::layout::{maps, sizes};

use crate::bpf;

/// How often it is looked which ring is in place. Looking without pause would take one of the CPUs
/// that the controller needs.
const LOOK: Duration = Duration::from_micros(50);

const CHANGE_LIMIT: Duration = Duration::from_secs(2);

/// The rings of the data plane.
pub struct Rings {
    map: MapData,
    /// The number of the service that is looked at.
    service: u32,
}

impl Rings {
    /// Looks at the first service that has a ring; `directory` is where the maps are pinned.
    pub fn open(directory: &Path) -> Result<Self> {
        let map = bpf::open(&directory.join(maps::RINGS))?;
        for service in 0..sizes::SERVICES as u32 {
            if bpf::inner_map(&map, service)?.is_some() {
                return Ok(Self { map, service });
            }
        }
        anyhow::bail!("no service has a ring")
    }

    /// Milliseconds until another ring is in place, and until `call` has returned.
    pub fn time(&self, call: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
        let before = self.now()?;
        let waiting = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| self.wait_for_another(before, &waiting));
            while !waiting.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let began = Instant::now();
            let called = call();
            let answered = began.elapsed();
            let changed = looking.join().ok().context("the thread that looks panicked")?;
            called?;
            let in_place = changed?.saturating_duration_since(began);
            Ok((in_place.as_secs_f64() * 1e3, answered.as_secs_f64() * 1e3))
        })
    }

    fn wait_for_another(&self, before: Option<u32>, waiting: &AtomicBool) -> Result<Instant> {
        let deadline = Instant::now() + CHANGE_LIMIT;
        waiting.store(true, Ordering::Release);
        while self.now()? == before {
            ensure!(Instant::now() < deadline, "no other ring after {CHANGE_LIMIT:?}");
            std::thread::sleep(LOOK);
        }
        Ok(Instant::now())
    }

    fn now(&self) -> Result<Option<u32>> {
        bpf::inner_map(&self.map, self.service)
    }
}
