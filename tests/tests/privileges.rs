//! `mqlb run` with a capability too few says which one, and how to get it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::Command;
use std::time::Duration;

use lb_tests::process::Process;
use lb_tests::topology::{Arms, Topology};
use lb_tests::{balancer, exclusive};

const NEEDED: [&str; 3] = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];
const LIMIT: Duration = Duration::from_secs(20);

/// What came of a run.
struct Run {
    code: Option<i32>,
    /// The error, without the log before it.
    message: String,
}

/// Runs `mqlb run` as root without this capability, and without the one that is as good to the
/// kernel; it must end by itself.
fn run_without(topology: &Topology, capability: &str, options: &[&str]) -> Run {
    let file = topology.scratch().join("mqlb.yaml");
    std::fs::write(&file, balancer::config(topology).to_string()).unwrap();
    let name = capability.strip_prefix("CAP_").unwrap().to_lowercase();
    let without = format!("-{name},-sys_admin");
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", &without, "--bounding-set", &without, "--"]);
    command.arg(balancer::program().unwrap()).args(["run", "-c"]).arg(file).args(options);
    let (namespace, directory) = (topology.balancer(), topology.scratch().path());
    let process = Process::start(capability, &mut command, namespace, directory).unwrap();
    let code = process.wait(LIMIT).unwrap().code();
    let said = process.output();
    let message = said.rsplit_once("error: ").map(|(_, message)| message.to_owned());
    Run { code, message: message.unwrap_or_else(|| panic!("no error in {said}")) }
}

#[test]
fn the_missing_capability_is_named_before_anything_is_touched() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::Two, 1).unwrap();
    for capability in NEEDED {
        let Run { code, message } = run_without(&topology, capability, &[]);
        assert_eq!(code, Some(1));
        let expected = format!("this host would not forward: {capability} missing\n  hint: ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("setcap cap_bpf,cap_net_admin,cap_perfmon=ep"), "{message}");
        assert!(!topology.scratch().bpffs().join("mqlb").exists());
    }
}

#[test]
fn it_is_named_too_where_only_the_kernel_refuses() {
    let _exclusive = exclusive();
    let topology = Topology::new(Arms::Two, 1).unwrap();
    for capability in NEEDED {
        let Run { code, message } = run_without(&topology, capability, &["--force"]);
        assert_eq!(code, Some(1));
        assert!(message.contains(&format!("\nhint: {capability} missing: run")), "{message}");
        assert!(!topology.scratch().bpffs().join("mqlb").exists(), "left after {message}");
    }
}
