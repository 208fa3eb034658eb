//! Holding the VIPs: adding them to interfaces, telling the neighbours, removing them again.
//!
//! A VIP in a network of a configured interface is added to that interface: neighbour discovery of
//! IPv6 is answered only there. Any other reaches this host by a route, and goes to the loopback
//! interface. What was added carries a mark in the kernel's own table ([`ORIGIN`]): whichever
//! controller comes next, also after a SIGKILL, knows it from what an operator added, and no file
//! can disagree with the kernel.
//!
//! All functions work in the network namespace of the calling thread, in which one controller may
//! hold VIPs. They need `CAP_NET_ADMIN`, and `CAP_NET_RAW` to announce.

mod announce;
mod ethernet;
mod frame;
mod place;

use std::{collections::BTreeSet, io, net::IpAddr};

pub use announce::announce;

use crate::netlink::{
    Netlink,
    addresses::{self, InterfaceAddress},
};

/// The mark of addresses that mqlb added (`IFA_PROTO`): `ip address` shows `proto 0x6d`.
pub const ORIGIN: u8 = b'm';

/// Why a VIP could not be held, announced or let go.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// The interfaces or their addresses could not be listed.
    #[error("list the addresses of this host: {0}")]
    List(#[source] io::Error),
    /// No interface is there for it.
    #[error("hold VIP {vip}: there is no interface {interface}")]
    NoInterface {
        /// The address.
        vip: IpAddr,
        /// Where it should go.
        interface: String,
    },
    /// The kernel refused to add it.
    #[error("hold VIP {vip} on {interface}: {source}")]
    Add {
        /// The address.
        vip: IpAddr,
        /// Where it should go.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused to remove it.
    #[error("let go of VIP {vip}: {source}")]
    Remove {
        /// The address.
        vip: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The neighbours could not be told.
    #[error("announce VIP {vip} on {interface}: {source}")]
    Announce {
        /// The address.
        vip: IpAddr,
        /// On which link.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What [`hold`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// VIPs that were added; they should be announced.
    pub added: BTreeSet<IpAddr>,
    /// VIPs that were held and are no longer wanted.
    pub removed: BTreeSet<IpAddr>,
}

/// Makes this host hold `vips`, and no longer those that an earlier call added and that are not
/// among them. A VIP that somebody else put on an interface is left as it is.
///
/// If one cannot be added the error says which; those before it stay, [`release`] removes them.
pub fn hold(vips: &BTreeSet<IpAddr>, interfaces: &[String]) -> Result<Changes, VipError> {
    let mut netlink = Netlink::route().map_err(VipError::List)?;
    let links = ethernet::links(&mut netlink).map_err(VipError::List)?;
    let held = addresses::list(&mut netlink).map_err(VipError::List)?;
    let mut changes = Changes::default();
    for address in held.iter().filter(|address| is_ours(address)) {
        let vip = address.network.address;
        if !vips.contains(&vip) {
            remove(&mut netlink, address)?;
            changes.removed.insert(vip);
        }
    }
    for vip in vips {
        if held.iter().any(|address| address.network.address == *vip) {
            continue;
        }
        let name = place::interface(*vip, interfaces, &links, &held);
        let link = links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| VipError::NoInterface { vip: *vip, interface: name.to_owned() })?;
        addresses::add(&mut netlink, link.index, *vip, ORIGIN).map_err(|source| VipError::Add {
            vip: *vip,
            interface: name.to_owned(),
            source,
        })?;
        changes.added.insert(*vip);
    }
    Ok(changes)
}

/// Removes every VIP that [`hold`] added, in this or any earlier process, and returns them.
pub fn release() -> Result<BTreeSet<IpAddr>, VipError> {
    hold(&BTreeSet::new(), &[]).map(|changes| changes.removed)
}

fn remove(netlink: &mut Netlink, address: &InterfaceAddress) -> Result<(), VipError> {
    let vip = address.network.address;
    addresses::remove(netlink, address.interface, vip)
        .map_err(|source| VipError::Remove { vip, source })
}

fn is_ours(address: &InterfaceAddress) -> bool {
    address.origin == Some(ORIGIN)
}
