//! What drivers say about XDP: the family `netdev` of generic netlink (Linux 6.3,
//! Documentation/netlink/specs/netdev.yaml).

use std::{collections::BTreeMap, io};

use netlink_packet_core::{DecodeError, Emitable, NLM_F_DUMP, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{
    GenlFamily, GenlHeader, GenlMessage,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};

use super::super::XdpFeatures;
use crate::netlink::Netlink;

const FAMILY: &str = "netdev";
const DEV_GET: u8 = 1;
const IFINDEX: u16 = 1;
const FEATURES: u16 = 3;
const FEATURE_BASIC: u64 = 1 << 0;
const FEATURE_NDO_XMIT: u64 = 1 << 2;

/// The features of all interfaces that tell them, by interface index.
pub(super) fn all() -> io::Result<BTreeMap<u32, XdpFeatures>> {
    let mut netlink = Netlink::generic()?;
    let family = family(&mut netlink)?;
    let mut request = GenlMessage::from_payload(Device::default());
    request.set_resolved_family_id(family);
    let answers = netlink.ask(request, NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| {
            let features = answer.payload.features?;
            Some((answer.payload.index, decode(features)))
        })
        .collect())
}

const fn decode(features: u64) -> XdpFeatures {
    XdpFeatures {
        basic: features & FEATURE_BASIC != 0,
        transmits_redirected: features & FEATURE_NDO_XMIT != 0,
    }
}

/// The number that the family has on this host.
fn family(netlink: &mut Netlink) -> io::Result<u16> {
    let question = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())],
    };
    let answers = netlink.ask(GenlMessage::from_payload(question), 0)?;
    let attributes = answers.into_iter().flat_map(|answer| answer.payload.nlas);
    let mut ids = attributes.filter_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(id) => Some(id),
        _ => None,
    });
    ids.next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// A message about a device; as a question, empty.
#[derive(Debug, Default)]
struct Device {
    index: u32,
    features: Option<u64>,
}

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        DEV_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        0
    }

    fn emit(&self, _: &mut [u8]) {}
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(bytes: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        let mut device = Self::default();
        for attribute in NlasIterator::new(bytes) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                IFINDEX => device.index = u32::from_ne_bytes(exactly(value)?),
                FEATURES => device.features = Some(u64::from_ne_bytes(exactly(value)?)),
                _ => {}
            }
        }
        Ok(device)
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_| DecodeError::from(format!("{} bytes for {N}", value.len())))
}
