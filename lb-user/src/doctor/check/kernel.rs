//! Is the kernel new enough?

use super::super::{Finding, Host, KernelVersion};
use crate::config::model::Config;

const CHECK: &str = "kernel";

/// The newest thing the program needs is the helper `bpf_xdp_get_buff_len`. Older ones are XDP
/// links (5.9), `bpf_ktime_get_coarse_ns` (5.11) and atomic operations that return a value (5.12).
const MINIMUM: KernelVersion = KernelVersion { major: 5, minor: 18 };
/// The oldest one that mqlb is tested on.
const TESTED: KernelVersion = KernelVersion { major: 6, minor: 1 };

pub(super) fn check(_: &Config, host: &Host) -> Vec<Finding> {
    vec![match host.kernel {
        None => Finding::warning(
            CHECK,
            "the kernel does not tell its version",
            format!("mqlb needs Linux {MINIMUM} or newer"),
        ),
        Some(kernel) if kernel < MINIMUM => Finding::error(
            CHECK,
            format!("the kernel is Linux {kernel}"),
            format!("the XDP program needs Linux {MINIMUM} or newer"),
        )
        .mend("apt-get install linux-image-amd64 && reboot"),
        Some(kernel) if kernel < TESTED => Finding::warning(
            CHECK,
            format!("the kernel is Linux {kernel}"),
            format!("mqlb is tested on Linux {TESTED} and newer: the verifier may think otherwise"),
        ),
        Some(kernel) => Finding::ok(CHECK, format!("Linux {kernel}")),
    }]
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Severity, samples},
        *,
    };

    #[test]
    fn a_kernel_without_a_helper_the_program_calls_is_an_error() {
        let (config, mut host) = samples::well();
        host.kernel = Some(KernelVersion { major: 5, minor: 17 });
        assert_eq!(check(&config, &host)[0].severity, Severity::Error);
        host.kernel = Some(KernelVersion { major: 5, minor: 18 });
        assert_eq!(check(&config, &host)[0].severity, Severity::Warning);
        host.kernel = Some(KernelVersion { major: 6, minor: 1 });
        assert_eq!(check(&config, &host)[0].severity, Severity::Ok);
    }
}
