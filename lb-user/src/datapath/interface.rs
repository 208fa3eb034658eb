//! What the kernel says about XDP on an interface (`RTM_GETLINK`).

use std::{
    ffi::{CStr, CString},
    io,
};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use serde::{Deserialize, Serialize};

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's stack: any interface can, and it costs more.
    Generic,
    /// In the device.
    Offloaded,
}

impl std::fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

/// The XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's number of the program.
    pub program_id: u32,
    /// Where it runs.
    pub mode: AttachedMode,
}

/// The index of an interface of this network namespace; `None` if there is none of that name.
#[must_use]
pub fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero and lives until the call returns.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of an interface of this network namespace; `None` if there is none of that index.
pub(super) fn name(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has as many bytes as the call may write.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// The XDP program on the interface with this index.
pub(super) fn attached(index: u32) -> io::Result<Option<Attached>> {
    let link = link(index)?;
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp.as_slice()),
        _ => None,
    });
    Ok(xdp.and_then(read))
}

fn read(attributes: &[LinkXdp]) -> Option<Attached> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        // Several at once: native runs first.
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple) => {
            Some(AttachedMode::Native)
        }
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachedMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(AttachedMode::Offloaded),
        _ => None,
    })?;
    let program_id = attributes.iter().find_map(|attribute| match (attribute, mode) {
        (LinkXdp::ProgId(id), _)
        | (LinkXdp::DrvProgId(id), AttachedMode::Native)
        | (LinkXdp::SkbProgId(id), AttachedMode::Generic)
        | (LinkXdp::HwProgId(id), AttachedMode::Offloaded) => Some(*id),
        _ => None,
    })?;
    Some(Attached { program_id, mode })
}

fn link(index: u32) -> io::Result<LinkMessage> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_no_program() {
        assert_eq!(attached(index("lo").unwrap()).unwrap(), None);
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_index() {
        assert_eq!(index("no-such-device"), None);
        assert!(attached(0x7fff_ffff).is_err());
    }
}
