//! The program that unwraps packets on the host of a broker: attached, looked at, taken off.
//!
//! It needs no controller: the program and its lists are pinned in a directory of their own.

mod lists;

use std::{net::IpAddr, path::Path};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{ProgramError, Xdp},
};
use lb_common::decap::{DecapVerdict, VERSION, maps};

use self::lists::Lists;
use super::{
    InterfaceStatus, StartError, attach, bpffs, explain, layout,
    lock::Lock,
    pins::{self, Pins},
    table::PerCpuTable,
};
use crate::config::model::{InterfaceSettings, Prefix};

/// The ELF object (the build script knows where).
const OBJECT: &[u8] = include_bytes_aligned!(env!("MQLB_DECAP_OBJECT"));

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "mqlb_decap";

/// What the program is to do.
#[derive(Clone, Debug)]
pub struct Unwrapping {
    /// Interfaces that wrapped packets come in by.
    pub interfaces: Vec<InterfaceSettings>,
    /// Who may wrap what for whom.
    pub allowed: Allowed,
}

/// Who may wrap what for whom; none of these is empty.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Sources of wrapped packets.
    pub from: Vec<Prefix>,
    /// Addresses of this host that wrapped packets are sent to.
    pub to: Vec<IpAddr>,
    /// Addresses that packets inside may be sent to.
    pub vips: Vec<IpAddr>,
}

/// What the program does, and has done.
#[derive(Clone, Debug)]
pub struct DecapStatus {
    /// The interfaces, and what runs there.
    pub interfaces: Vec<InterfaceStatus>,
    /// Who may wrap what for whom, sorted.
    pub allowed: Allowed,
    /// Packets by verdict, since it was first attached.
    pub verdicts: Vec<(DecapVerdict, u64)>,
}

/// Attaches the program to these interfaces, and to no others. Where it runs already, the lists
/// are changed in place and this build's program takes over, without a packet in between.
pub fn attach(pin_dir: &Path, wanted: &Unwrapping) -> Result<(), StartError> {
    let pins = own_pins(pin_dir)?;
    bpffs::ensure(pins.root())?;
    let there = layout::is_there(&pins, VERSION, DETACH)?;
    pins::make(&[pins.maps(), pins.links()])?;
    let _lock = Lock::take(pins.root())?;
    let attached = attach_locked(&pins, wanted, there);
    if attached.is_err() && !there {
        // Nothing ran before, and nothing is to be left of the attempt.
        pins.remove_all()?;
    }
    attached
}

/// The pins in `pin_dir`, unless they are the balancer's.
fn own_pins(pin_dir: &Path) -> Result<Pins, StartError> {
    let pins = Pins::new(pin_dir);
    if pins.map(lb_common::layout::maps::SETTINGS).exists() {
        return Err(StartError::PinsOfBalancer(pin_dir.to_owned()));
    }
    Ok(pins)
}

const DETACH: &str = "mqlb decap detach";

fn attach_locked(pins: &Pins, wanted: &Unwrapping, there: bool) -> Result<(), StartError> {
    if !there {
        layout::write(pins, VERSION)?;
    }
    let mut loader = EbpfLoader::new();
    for map in [maps::FROM, maps::TO, maps::VIPS, maps::VERDICTS] {
        loader.map_pin_path(map, pins.map(map));
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| StartError::Load {
        what: "make the lists of the XDP program",
        reason: explain::ebpf(&error),
    })?;
    let program = program(&mut ebpf)?;
    program.load().map_err(|error| StartError::Load {
        what: "load the XDP program",
        reason: explain::program(&error),
    })?;
    // What is allowed now and stays allowed is not missed for a moment.
    let mut lists = Lists::open(pins)?;
    lists.add(&wanted.allowed)?;
    attach::attach_all(program, &wanted.interfaces, pins)?;
    lists.keep_only(&wanted.allowed)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, StartError> {
    let missing = || StartError::Load {
        what: "find the XDP program",
        reason: format!("the object has no XDP program {PROGRAM}"),
    };
    let program = ebpf.program_mut(PROGRAM).ok_or_else(missing)?;
    program.try_into().map_err(|_: ProgramError| missing())
}

/// What the program does and has done; `None` if it is not attached.
pub fn status(pin_dir: &Path) -> Result<Option<DecapStatus>, StartError> {
    let pins = own_pins(pin_dir)?;
    if !layout::is_there(&pins, VERSION, DETACH)? {
        return Ok(None);
    }
    let counters = PerCpuTable::<u64>::open(&pins, maps::VERDICTS)?;
    let packets = |verdict: &DecapVerdict| {
        Ok::<_, StartError>((*verdict, counters.get(*verdict as u32)?.iter().sum()))
    };
    Ok(Some(DecapStatus {
        interfaces: attach::status(&pins)?,
        allowed: Lists::open(&pins)?.read()?,
        verdicts: DecapVerdict::ALL.iter().map(packets).collect::<Result<_, _>>()?,
    }))
}

/// Takes the program off all interfaces and removes its lists; whether there was anything.
pub fn detach(pin_dir: &Path) -> Result<bool, StartError> {
    let pins = own_pins(pin_dir)?;
    if !pin_dir.exists() {
        return Ok(false);
    }
    let _lock = Lock::take(pin_dir)?;
    pins.remove_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use lb_common::verdict::Action;

    use super::*;

    #[test]
    fn every_verdict_is_documented_with_its_action() {
        let text = include_str!("../../../../docs/ipip.md");
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?, cells.next()?))
        });
        let documented: Vec<_> =
            rows.filter(|(_, action)| ["pass", "drop"].contains(action)).collect();
        let action = |verdict: &DecapVerdict| match verdict.action() {
            Action::Drop => "drop",
            _ => "pass",
        };
        let known: Vec<_> = DecapVerdict::ALL.iter().map(|v| (v.name(), action(v))).collect();
        assert_eq!(documented, known);
    }
}
