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
use crate::contender::{Contender, Program, Running};
use crate::load::{Load, Work};
use crate::slab;

/// A source port of `mqlb`: lies in an array that is allocated with the peer, whether used or not.
pub const PORT_BYTES: f64 = size_of::<lb_common::port::Port>() as f64;

/// The kernel's objects of one TCP connection that a proxy holds: its socket, the inode and the
/// file that belong to it, and its place in an epoll.
const SOCKET: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"];

/// Grown by `connections` idle connections, in bytes per connection; `None` where there is nothing
/// to grow.
pub fn measure(
    contender: Contender,
    topology: &Topology,
    mqlb: &Path,
    connections: usize,
) -> Result<Option<f64>> {
    let running = contender.start(topology, mqlb)?;
    let grown = grown(&running, topology, connections);
    running.stop(topology)?;
    grown
}

fn grown(running: &Running, topology: &Topology, connections: usize) -> Result<Option<f64>> {
    let Some(program) = &running.program else { return Ok(None) };
    let before = bytes(program, topology)?;
    let load = Load::start(topology.clients(), &running.target, connections, Work::Idle)?;
    let after = bytes(program, topology)?;
    drop(load);
    let grown = (after - before) / connections as f64;
    Ok(Some(grown + allocated(program, topology)?))
}

/// What a connection takes of tables.
fn allocated(program: &Program, topology: &Topology) -> Result<f64> {
    match program {
        Program::Mqlb(_) => {
            let maps = topology.scratch().bpffs().join("mqlb/maps");
            let flows = bpf::open(&maps.join(lb_common::layout::maps::FLOWS))?;
            Ok(bpf::bytes_per_entry(&flows)? + PORT_BYTES)
        }
        Program::Proxy(_) | Program::Passing { .. } => Ok(0.0),
        // One entry, without its extensions. Entries cannot be counted: those of the connections
        // before are still leaving.
        Program::Nftables => slab::object_bytes(&["nf_conntrack"]),
    }
}

fn bytes(program: &Program, topology: &Topology) -> Result<f64> {
    match program {
        Program::Mqlb(balancer) => {
            let process = balancer.process().context("mqlb runs")?;
            let maps = topology.scratch().bpffs().join("mqlb/maps");
            Ok(memory_of(process.pid())? + bpf::memory_of_all(&maps)?)
        }
        Program::Proxy(process) => {
            let mut bytes = 0.0;
            for pid in family(process.pid())? {
                bytes += memory_of(pid)?;
            }
            let socket = slab::object_bytes(&SOCKET)?;
            Ok(bytes + sockets(topology.balancer())? * socket)
        }
        Program::Nftables | Program::Passing { .. } => Ok(0.0),
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

/// A process and its children.
fn family(pid: u32) -> Result<Vec<u32>> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    Ok(text.split_whitespace().flat_map(str::parse).chain([pid]).collect())
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
