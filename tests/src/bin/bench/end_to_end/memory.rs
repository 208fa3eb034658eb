//! What an idle connection costs the balancer in memory.
//!
//! Counted are the memory by which its processes grow and the objects of the kernel that stand for
//! connections in its namespace. The tables of `mqlb` are allocated when it starts: there it is what
//! a connection takes of them. Slab pages that the whole machine uses would be simpler to read, but every
//! other program changes them, too.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lb_tests::netns::Namespace;
use lb_tests::topology::Topology;

use crate::bpf;
use crate::contender::{Contender, Program, Running, Service};
use crate::load::{Load, Work};
use crate::slab;

/// A source port of `mqlb`: lies in an array that is allocated with the peer, whether used or not.
pub const PORT_BYTES: f64 = size_of::<lb_common::port::Port>() as f64;

/// The kernel's objects of one TCP connection that a proxy holds: its socket, the inode and the
/// file that belong to it, and its place in an epoll.
const SOCKET: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"];

/// What an idle connection takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grown {
    /// Of the memory of its processes.
    pub resident: f64,
    /// Of the kernel's: sockets, or entries of tables.
    pub kernel: f64,
}

impl Grown {
    /// Both.
    pub const fn total(self) -> f64 {
        self.resident + self.kernel
    }
}

/// Grown by `connections` idle connections, in bytes per connection; `None` where there is nothing
/// to grow.
pub fn measure(
    contender: Contender,
    topology: &Topology,
    mqlb: &Path,
    service: &Service,
    connections: usize,
) -> Result<Option<Grown>> {
    let running = contender.start(topology, mqlb, service)?;
    let grown = grown(&running, topology, connections);
    running.stop(topology)?;
    grown
}

fn grown(running: &Running, topology: &Topology, connections: usize) -> Result<Option<Grown>> {
    let Some(program) = &running.program else { return Ok(None) };
    let before = bytes(program, topology)?;
    let load = Load::start(topology.clients(), &running.target, connections, Work::Idle)?;
    let after = bytes(program, topology)?;
    drop(load);
    let each = |before: f64, after: f64| (after - before) / connections as f64;
    Ok(Some(Grown {
        resident: each(before.resident, after.resident),
        kernel: each(before.kernel, after.kernel) + allocated(program, topology)?,
    }))
}

/// What a connection takes of tables.
fn allocated(program: &Program, topology: &Topology) -> Result<f64> {
    match program {
        Program::Mqlb(_) => {
            let maps = topology.scratch().bpffs().join("mqlb/maps");
            let flows = bpf::open(&maps.join(lb_common::layout::maps::FLOWS))?;
            Ok(bpf::bytes_per_entry(&flows)? + PORT_BYTES)
        }
        Program::MqlbMqtt(_) | Program::Proxy(_) | Program::Passing { .. } => Ok(0.0),
        // One entry, without its extensions. Entries cannot be counted: those of the connections
        // before are still leaving.
        Program::Nftables => slab::object_bytes(&["nf_conntrack"]),
    }
}

/// What all connections together take, and what was there before.
fn bytes(program: &Program, topology: &Topology) -> Result<Grown> {
    match program {
        Program::Mqlb(balancer) => {
            let process = balancer.process().context("mqlb runs")?;
            let maps = topology.scratch().bpffs().join("mqlb/maps");
            Ok(Grown { resident: memory_of(process.pid())?, kernel: bpf::memory_of_all(&maps)? })
        }
        Program::MqlbMqtt(_) | Program::Proxy(_) => {
            let mut resident = 0.0;
            for pid in program.processes()? {
                resident += memory_of(pid)?;
            }
            let socket = slab::object_bytes(&SOCKET)?;
            Ok(Grown { resident, kernel: sockets(topology.balancer())? * socket })
        }
        Program::Nftables | Program::Passing { .. } => Ok(Grown { resident: 0.0, kernel: 0.0 }),
    }
}

/// Its share of the memory it is in.
fn memory_of(pid: u32) -> Result<f64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next());
    Ok(kib.and_then(|kib| kib.parse::<f64>().ok()).with_context(|| format!("{file} has no Pss"))?
        * 1024.0)
}

/// The TCP sockets of a namespace that are in use.
fn sockets(namespace: &Namespace) -> Result<f64> {
    let text = in_namespace(namespace, "/proc/thread-self/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: inuse "));
    match line.and_then(|rest| rest.split(' ').next()?.parse().ok()) {
        Some(count) => Ok(count),
        None => bail!("sockstat does not say how many TCP sockets are in use: {text}"),
    }
}

fn in_namespace(namespace: &Namespace, file: &str) -> Result<String> {
    namespace.run(|| fs::read_to_string(file))?.with_context(|| format!("read {file}"))
}
