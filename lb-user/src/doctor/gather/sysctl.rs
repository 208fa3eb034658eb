//! Settings of the kernel, read from /proc/sys.

use std::{fs, path::Path};

use super::super::Ipv4Settings;
use crate::config::model::PortRange;

/// The setting with this path below /proc/sys; `None` if there is none.
pub(super) fn text(setting: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(setting)).ok()?;
    Some(text.trim().to_owned())
}

pub(super) fn flag(setting: &str) -> Option<bool> {
    number(setting).map(|number| number != 0)
}

fn number(setting: &str) -> Option<u8> {
    text(setting)?.parse().ok()
}

/// A range that is written "FIRST LAST".
pub(super) fn ports(setting: &str) -> Option<PortRange> {
    let text = text(setting)?;
    let (first, last) = text.split_once(char::is_whitespace)?;
    PortRange::new(first.parse().ok()?, last.trim().parse().ok()?)
}

/// Ranges that are written "80,8000-8010".
pub(super) fn port_list(setting: &str) -> Vec<PortRange> {
    text(setting).unwrap_or_default().split(',').filter_map(range).collect()
}

fn range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
}

/// The settings of IPv4 as they act on an interface; each combines with that of `all` in its own
/// way (Documentation/networking/ip-sysctl.rst).
pub(super) fn ipv4(interface: &str) -> Option<Ipv4Settings> {
    let of = |whose: &str, setting: &str| number(&format!("net/ipv4/conf/{whose}/{setting}"));
    let larger = |setting: &str| Some(of("all", setting)?.max(of(interface, setting)?));
    Some(Ipv4Settings {
        forwarding: of(interface, "forwarding")? != 0,
        rp_filter: larger("rp_filter")?,
        accept_local: larger("accept_local")? != 0,
        arp_ignore: larger("arp_ignore")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports_are_single_numbers_or_pairs() {
        assert_eq!(range("80"), PortRange::new(80, 80));
        assert_eq!(range("8000-8010"), PortRange::new(8000, 8010));
        assert_eq!(range(""), None);
    }
}
