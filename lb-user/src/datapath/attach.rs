//! The program on the interfaces.
//!
//! Every attachment is a BPF link that is pinned: it outlives the controller, and another program
//! takes its place in one step (`BPF_LINK_UPDATE`), so that no packet meets an interface without.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};

use super::{
    StartError, decap, explain,
    interface::{self, Attached, AttachedMode},
    object::{PROGRAM, TRACE_PROGRAM},
    pins::{self, Pins},
    sys,
};
use crate::config::model::{InterfaceSettings, XdpMode as Wanted};

/// An interface and the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// What runs on it; `None` if the interface is gone, or somebody took the program off.
    pub attached: Option<Attached>,
}

/// Puts `program` on these interfaces, and takes what was pinned for others off.
///
/// What runs already stays until the new program takes its place. If an interface refuses, those
/// before it have the new program and all others what they had.
pub(super) fn attach_all(
    program: &mut Xdp,
    interfaces: &[InterfaceSettings],
    pins: &Pins,
) -> Result<(), StartError> {
    for interface in interfaces {
        attach(program, interface, pins)?;
    }
    for name in pins.linked_interfaces()? {
        if !interfaces.iter().any(|interface| interface.name == name) {
            tracing::info!(interface = name, "XDP taken off: not configured any more");
            pins::remove_link(&pins.link(&name))?;
        }
    }
    Ok(())
}

/// Puts `program` in the place of the one that runs, wherever one of ours runs.
pub(super) fn exchange_all(program: BorrowedFd<'_>, pins: &Pins) -> Result<(), StartError> {
    for name in pins.linked_interfaces()? {
        let exchanged =
            sys::open(&pins.link(&name)).and_then(|link| sys::exchange(link.as_fd(), program));
        match exchanged {
            // The interface is gone, and with it what ran there.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
            Err(error) => {
                return Err(StartError::attach(&name, format!("exchange the program: {error}")));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// What runs on the interfaces that were attached to.
pub(super) fn status(pins: &Pins) -> Result<Vec<InterfaceStatus>, StartError> {
    let mut all = Vec::new();
    for name in pins.linked_interfaces()? {
        let attached = match interface::index(&name) {
            Some(index) => interface::attached(index)
                .map_err(|error| StartError::attach(&name, format!("read its state: {error}")))?,
            None => None,
        };
        all.push(InterfaceStatus { name, attached });
    }
    Ok(all)
}

fn attach(program: &mut Xdp, wanted: &InterfaceSettings, pins: &Pins) -> Result<(), StartError> {
    let name = &wanted.name;
    let index = interface::index(name)
        .ok_or_else(|| StartError::attach(name, "there is no interface of this name"))?;
    if let Some(link) = reusable(wanted, index, pins)? {
        return replace(program, name, link);
    }
    refuse_foreign(name, index)?;
    let link = attach_anew(program, wanted, index)?;
    let path = pins.link(name);
    link.pin(&path).map_err(|error| StartError::attach(name, format!("pin the link: {error}")))?;
    Ok(())
}

/// The pinned link of this interface. One that has lost its interface, or has another mode than
/// the configuration asks for, is removed.
fn reusable(
    wanted: &InterfaceSettings,
    index: u32,
    pins: &Pins,
) -> Result<Option<PinnedLink>, StartError> {
    let name = &wanted.name;
    let path = pins.link(name);
    let fd = match sys::open(&path) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::file("open", &path, error)),
    };
    let linked = sys::link_interface(fd.as_fd())
        .map_err(|error| StartError::file("examine", &path, error))?;
    let mode = attached_mode(name, index)?;
    let fits = match wanted.xdp {
        Wanted::Auto => true,
        Wanted::Native => mode == Some(AttachedMode::Native),
        Wanted::Generic => mode == Some(AttachedMode::Generic),
    };
    if linked == index && fits {
        return PinnedLink::from_pin(&path)
            .map(Some)
            .map_err(|error| StartError::attach(name, explain::with_causes(&error)));
    }
    if linked == index {
        tracing::warn!(
            interface = name,
            "XDP is off for a moment: another mode is configured than the one it runs in"
        );
    }
    pins::remove_link(&path)?;
    Ok(None)
}

fn attached_mode(name: &str, index: u32) -> Result<Option<AttachedMode>, StartError> {
    let attached = interface::attached(index)
        .map_err(|error| StartError::attach(name, format!("read its state: {error}")))?;
    Ok(attached.map(|attached| attached.mode))
}

/// Puts `program` in the place of the one that the link holds.
fn replace(program: &mut Xdp, name: &str, link: PinnedLink) -> Result<(), StartError> {
    let link = XdpLink::try_from(FdLink::from(link))
        .map_err(|error| StartError::attach(name, explain::with_causes(&error)))?;
    program
        .attach_to_link(link)
        .map_err(|error| StartError::attach(name, explain::program(&error)))?;
    Ok(())
}

/// Names the program that sits on the interface already.
fn refuse_foreign(name: &str, index: u32) -> Result<(), StartError> {
    let attached = interface::attached(index)
        .map_err(|error| StartError::attach(name, format!("read its state: {error}")))?;
    let Some(Attached { program_id, .. }) = attached else { return Ok(()) };
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == program_id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    let hint = match program.as_deref() {
        Some(PROGRAM | TRACE_PROGRAM) => {
            "it is one of ours: `mqlb detach --pin-dir` with the directory it was started with"
        }
        Some(decap::PROGRAM) => {
            "it is one of ours: `mqlb decap detach --pin-dir` with the directory it was attached with"
        }
        _ => "take it off with whatever put it there, or `ip link set dev IFACE xdp off`",
    };
    let called = program.map_or_else(String::new, |program| format!(" called {program:?}"));
    Err(StartError::attach(
        name,
        format!("another XDP program runs there: id {program_id}{called}\nhint: {hint}"),
    ))
}

fn attach_anew(
    program: &mut Xdp,
    wanted: &InterfaceSettings,
    index: u32,
) -> Result<FdLink, StartError> {
    let name = &wanted.name;
    let result = match wanted.xdp {
        Wanted::Native => link(program, index, XdpMode::Driver),
        Wanted::Generic => link(program, index, XdpMode::Skb),
        Wanted::Auto => link(program, index, XdpMode::Driver).or_else(|error| {
            if final_answer(&error) {
                return Err(error);
            }
            let generic = link(program, index, XdpMode::Skb)?;
            tracing::warn!(
                interface = name,
                reason = explain::program(&error),
                "XDP runs in generic mode, which costs more: native mode was refused"
            );
            Ok(generic)
        }),
    };
    result.map_err(|error| {
        let mut reason = explain::program(&error);
        if wanted.xdp == Wanted::Native && !final_answer(&error) {
            reason += "\nhint: the driver may lack native XDP, or its MTU or offloads (LRO) stand \
                       in the way; `xdp: auto` falls back to generic mode";
        }
        StartError::attach(name, reason)
    })
}

/// Whether another mode would be refused as well.
fn final_answer(error: &ProgramError) -> bool {
    matches!(explain::errno(error), Some(libc::EPERM | libc::EBUSY | libc::ENODEV))
}

fn link(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = program.attach_to_if_index(index, mode)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_| {
        // Kernels before 5.9 have no XDP links; aya attached by netlink, which cannot be pinned.
        ProgramError::IOError(io::Error::other("the kernel has no XDP links (Linux 5.9)"))
    })
}
