//! Can the program be attached, and its frames be sent?

use super::super::{Finding, Host, Interface};
use crate::config::model::{Config, XdpMode};

const CHECK: &str = "xdp";

pub(super) fn check(config: &Config, host: &Host) -> Vec<Finding> {
    config
        .interfaces
        .iter()
        .filter_map(|settings| Some(examine(host.interface(&settings.name)?, settings.xdp)))
        .flatten()
        .collect()
}

fn examine(interface: &Interface, mode: XdpMode) -> Vec<Finding> {
    let findings: Vec<Finding> =
        [foreign(interface), native(interface, mode), transmits(interface, mode)]
            .into_iter()
            .flatten()
            .collect();
    if findings.is_empty() {
        return vec![Finding::ok(CHECK, format!("{} takes the program", interface.name))];
    }
    findings
}

fn foreign(interface: &Interface) -> Option<Finding> {
    let program = interface.xdp.filter(|program| !program.ours)?;
    let name = &interface.name;
    Some(
        Finding::error(
            CHECK,
            format!("{name} has an XDP program already, number {}", program.id),
            format!(
                "an interface has one; `bpftool prog show id {}` says which this is",
                program.id
            ),
        )
        .mend(format!("ip link set dev {name} xdp off")),
    )
}

fn native(interface: &Interface, mode: XdpMode) -> Option<Finding> {
    let features = interface.xdp_features?;
    if features.basic || mode == XdpMode::Generic {
        return None;
    }
    let (name, driver) = (&interface.name, driver(interface));
    Some(match mode {
        XdpMode::Native => Finding::error(
            CHECK,
            format!("{driver} of {name} has no native XDP"),
            "the configuration insists on it: write `xdp: auto` or `xdp: generic`",
        ),
        _ => Finding::warning(
            CHECK,
            format!("{driver} of {name} has no native XDP"),
            "mqlb runs in generic mode there, which costs much more per packet",
        ),
    })
}

/// Other drivers say so only once they run a program themselves; a veth goes by its peer.
fn transmits(interface: &Interface, mode: XdpMode) -> Option<Finding> {
    let features = interface.xdp_features?;
    let is_veth = interface.driver.as_deref() == Some("veth");
    if !is_veth || features.transmits_redirected || !features.basic || mode == XdpMode::Generic {
        return None;
    }
    let name = &interface.name;
    Some(
        Finding::error(
            CHECK,
            format!("the peer of {name} takes no frames from XDP"),
            "a veth needs an XDP program of its own for that (for frames that come from another \
             interface GRO is enough): all are lost",
        )
        .mend("ethtool -K PEER gro off; ethtool -K PEER gro on    # where PEER is, and up"),
    )
}

fn driver(interface: &Interface) -> String {
    interface.driver.as_ref().map_or_else(|| "the driver".into(), |name| format!("driver {name}"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, XdpFeatures, XdpProgram, samples},
        *,
    };

    #[test]
    fn a_program_of_somebody_else_is_an_error_and_our_own_is_not() {
        let (config, mut host) = samples::well();
        host.interfaces[0].xdp = Some(XdpProgram { id: 7, ours: true });
        assert!(check(&config, &host).iter().all(|f| f.severity == Severity::Ok));
        host.interfaces[0].xdp = Some(XdpProgram { id: 7, ours: false });
        let finding = &check(&config, &host)[0];
        assert_eq!(finding.severity, Severity::Error);
        assert_eq!(finding.mend.as_deref(), Some("ip link set dev eth0 xdp off"));
    }

    #[test]
    fn a_driver_without_native_xdp_is_an_error_only_if_native_is_asked_for() {
        let (mut config, mut host) = samples::well();
        host.interfaces[0].xdp_features =
            Some(XdpFeatures { basic: false, transmits_redirected: false });
        for (mode, severity) in [
            (XdpMode::Auto, Severity::Warning),
            (XdpMode::Native, Severity::Error),
            (XdpMode::Generic, Severity::Ok),
        ] {
            config.interfaces[0].xdp = mode;
            assert_eq!(check(&config, &host)[0].severity, severity, "{mode:?}");
        }
    }

    #[test]
    fn a_veth_whose_peer_takes_no_frames_is_an_error() {
        let (config, mut host) = samples::well();
        let features = Some(XdpFeatures { basic: true, transmits_redirected: false });
        host.interfaces[0].xdp_features = features;
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok, "not a veth");
        host.interfaces[0].driver = Some("veth".into());
        assert_eq!(check(&config, &host)[0].severity, Severity::Error);
    }

    #[test]
    fn a_kernel_that_cannot_say_is_believed_to_be_able() {
        let (config, mut host) = samples::well();
        host.interfaces[0].xdp_features = None;
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }
}
