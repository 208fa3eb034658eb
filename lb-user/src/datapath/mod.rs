//! The data plane as seen from userspace: loads the XDP program, attaches it, and reads and writes
//! its tables. The only module that names aya.
//!
//! Everything is pinned, so that the fast path neither notices when the controller ends nor when
//! another takes over (see `pins`).
//!
//! Privileges: `CAP_BPF` for maps and programs, `CAP_NET_ADMIN` to load and attach XDP,
//! `CAP_PERFMON` for pointer arithmetic that the verifier forbids without, and the right to write in
//! the directory of the pins. `CAP_SYS_ADMIN` is needed only to mount a bpffs, or to name a foreign
//! XDP program. It calls nothing newer than Linux 5.18 (`bpf_xdp_get_buff_len`); 6.1 is the oldest
//! kernel that it is tested on.

mod attach;
mod batch;
mod bpffs;
mod collect;
pub mod decap;
mod edits;
mod error;
mod explain;
mod interface;
#[cfg(test)]
mod interleaved;
#[cfg(test)]
mod kernel_tests;
mod known;
mod layout;
mod lists;
mod loader;
mod loads;
mod lock;
mod mapped;
mod missed;
mod object;
mod orphans;
mod packet_log;
mod peers;
mod pins;
mod ports;
mod programs;
mod removal;
mod rings;
mod settling;
mod sweep;
mod sys;
mod table;
mod tables;
mod trace;

use std::path::Path;

use lb_common::{layout::VERSION, ticks};

pub use attach::InterfaceStatus;
pub use bpffs::{bpffs_mount_point, is_on_bpffs};
pub use error::StartError;
pub use interface::{Attached, AttachedMode, index as interface_index};
pub use loader::Preparation;
pub use packet_log::PacketLog;
pub use ports::pin_map as pin_map_of_ports;

use self::{
    known::Known, loader::Load, lock::Lock, object::PROGRAM, orphans::Suspects, pins::Pins,
    programs::Programs, settling::Settling, tables::Tables,
};
use crate::config::model::{Config, InterfaceSettings};

/// The XDP program on its interfaces, and its tables.
///
/// Dropping it changes nothing for the packets: see [`Xdp::detach_all`] for that.
pub struct Xdp {
    pins: Pins,
    tables: Tables,
    known: Known,
    suspects: Suspects,
    settling: Settling,
    taken_over: bool,
    programs: Programs,
    /// Released last.
    _lock: Lock,
}

impl std::fmt::Debug for Xdp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xdp").field("pins", &self.pins).finish_non_exhaustive()
    }
}

impl Xdp {
    /// Loads and attaches the program, or takes over what an earlier controller left running: the
    /// tables as they are, and on each interface this build's program in place of that one's.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, Preparation::begin(config))
    }

    /// Like [`Xdp::start`]; `preparation` was begun before.
    pub fn start_with(config: &Config, preparation: Preparation) -> Result<Self, StartError> {
        Ok(Self::start_pinned(config, Load { preparation, log_packets: false })?.0)
    }

    /// Like [`Xdp::start`], with a program that logs every packet, and what it logs.
    pub fn start_logging(
        config: &Config,
        preparation: Preparation,
    ) -> Result<(Self, PacketLog), StartError> {
        let (xdp, log) = Self::start_pinned(config, Load { preparation, log_packets: true })?;
        let missing = || StartError::Load {
            what: "open the packet log",
            reason: "the program was loaded without it".to_owned(),
        };
        Ok((xdp, log.ok_or_else(missing)?))
    }

    fn start_pinned(config: &Config, load: Load) -> Result<(Self, Option<PacketLog>), StartError> {
        let pins = Pins::new(&config.pin_dir);
        bpffs::ensure(pins.root())?;
        let taken_over = layout::is_there(&pins, VERSION, "mqlb detach")?;
        pins.make_directories()?;
        let lock = Lock::take(pins.root())?;
        let started = Self::start_locked(config, pins.clone(), lock, taken_over, load);
        if started.is_err() && !taken_over {
            // Nothing ran before, and nothing is to be left of the attempt.
            if let Err(error) = pins.remove_all() {
                tracing::warn!(%error, "could not remove what was pinned before the failure");
            }
        }
        started
    }

    fn start_locked(
        config: &Config,
        pins: Pins,
        lock: Lock,
        taken_over: bool,
        load: Load,
    ) -> Result<(Self, Option<PacketLog>), StartError> {
        if !taken_over {
            layout::write(&pins, VERSION)?;
        }
        let log_packets = load.log_packets;
        let mut ebpf = loader::load(config, &pins, load)?;
        let tables = Tables::open(&pins)?;
        let known = Known::read(&tables, &pins, config.nat.ports.count())?;
        let settling = Settling::new()?;
        // Before anything is attached: what fails here leaves the packets as they were.
        let log = log_packets.then(|| PacketLog::open(&mut ebpf)).transpose()?;
        attach::attach_all(loader::program(&mut ebpf, PROGRAM)?, &config.interfaces, &pins)?;
        tracing::info!(pin_dir = %pins.root().display(), taken_over, "data plane ready");
        let xdp = Self {
            pins,
            tables,
            known,
            suspects: Suspects::default(),
            settling,
            taken_over,
            programs: Programs::new(ebpf),
            _lock: lock,
        };
        Ok((xdp, log))
    }

    /// Whether the tables were there before: if not, they hold nothing yet.
    #[must_use]
    pub const fn taken_over(&self) -> bool {
        self.taken_over
    }

    /// Attaches to these interfaces, and to these only; those that run already go on.
    pub fn set_interfaces(&mut self, wanted: &[InterfaceSettings]) -> Result<(), StartError> {
        attach::attach_all(loader::program(&mut self.programs.lock(), PROGRAM)?, wanted, &self.pins)
    }

    /// What runs on the interfaces.
    pub fn interfaces(&self) -> Result<Vec<InterfaceStatus>, StartError> {
        attach::status(&self.pins)
    }

    /// Takes the program off all interfaces and removes all tables: every connection through the
    /// balancer ends. Needs no configuration, and does nothing if nothing is there.
    pub fn detach_all(pin_dir: &Path) -> Result<(), StartError> {
        let pins = Pins::new(pin_dir);
        if !pin_dir.exists() {
            return Ok(());
        }
        let _lock = Lock::take(pin_dir)?;
        pins.remove_all()
    }
}

/// The interfaces that a controller with this directory of pins attached the program to.
pub fn attached_interfaces(pin_dir: &Path) -> Result<Vec<String>, StartError> {
    Pins::new(pin_dir).linked_interfaces()
}

/// The current tick, by the clock that the program uses.
#[must_use]
pub fn now() -> u32 {
    ticks::from_ns(clock_ns(libc::CLOCK_MONOTONIC_COARSE))
}

/// What one of the clocks shows that are always there.
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; the clocks exist since Linux 2.6.32, so it cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
