//! Looks at the host that this process runs on, in the network namespace of the calling thread.

mod links;
mod offloads;
mod routes;
mod sysctl;
mod xdp_features;

use std::io;

use rustix::process::{Resource, getrlimit};

use super::{Host, KernelVersion, PinDirectory};
use crate::{config::model::Config, datapath, netlink::Netlink, privileges};

/// Looks at everything the checks want to know. Changes nothing, and needs no privilege.
///
/// What the host does not say is left open; an error is a host that does not speak netlink.
pub fn gather(config: &Config) -> io::Result<Host> {
    let mut netlink = Netlink::route()?;
    let ours = datapath::attached_interfaces(&config.pin_dir).unwrap_or_default();
    let interfaces = links::interfaces(&mut netlink, &ours)?;
    let routes = routes::to_brokers(&mut netlink, config, &interfaces);
    Ok(Host {
        kernel: sysctl::text("kernel/osrelease").and_then(|text| KernelVersion::parse(&text)),
        page_bytes: rustix::param::page_size() as u32,
        interfaces,
        ipv4_forwarding: sysctl::flag("net/ipv4/ip_forward"),
        ipv6_forwarding: sysctl::flag("net/ipv6/conf/all/forwarding"),
        ephemeral_ports: sysctl::ports("net/ipv4/ip_local_port_range"),
        reserved_ports: sysctl::port_list("net/ipv4/ip_local_reserved_ports"),
        routes,
        pins: pins(config),
        capabilities: privileges::effective(),
        open_files: open_files(),
        conntrack: sysctl::text("net/netfilter/nf_conntrack_max").is_some(),
    })
}

fn pins(config: &Config) -> PinDirectory {
    if datapath::is_on_bpffs(&config.pin_dir).unwrap_or(false) {
        return PinDirectory::Bpffs;
    }
    PinDirectory::Other(datapath::bpffs_mount_point(&config.pin_dir).to_owned())
}

/// The hard limit of open files; the controller raises the soft one to it.
fn open_files() -> u64 {
    // No limit at all is a large one.
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
