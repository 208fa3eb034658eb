//! What a pass over a full connection table costs, and the table's memory.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lb_common::addr::Addr;
use lb_common::backend::{Backend, PeerKey, Source, backend_flags};
use lb_common::flow::{Flow, FlowKey};
use lb_common::layout::maps;
use lb_common::settings::Settings;
use lb_tests::balancer;
use lb_tests::tables::{Connection, Tables};
use lb_tests::topology::{Arms, Topology};
use lb_user::config::model::Config;
use lb_user::control::datapath::{Datapath as _, Edit};
use lb_user::control::direct::DirectRings;
use lb_user::datapath::Xdp;
use serde_json::json;

use crate::bpf;
use crate::end_to_end::PORT_BYTES;
use crate::statistics::median;
use crate::table::{Table, figure, verdict};

const ENTRIES: u32 = 1_000_000;
/// As in the defaults of the configuration.
const FIRST_PORT: u16 = 15_000;
const PORTS: u16 = 15_001;
const PEERS: u32 = ENTRIES.div_ceil(PORTS as u32);
const FIRST_PEER: u32 = 32;
const BACKEND: u32 = 1;
const BYTES_AIM: f64 = 160.0;

/// Ticks after which the entries with an even number and those with an odd one are idle for too
/// long.
const SHORT: u32 = 400;
const LONG: u32 = 1000;

pub fn measure(count: usize) -> Result<String> {
    let topology = Topology::new(Arms::Two, 0)?;
    topology.balancer().run(|| measure_here(&topology, count))?
}

/// In the balancer's namespace: the program is attached to its interfaces.
fn measure_here(topology: &Topology, count: usize) -> Result<String> {
    let mut xdp = Xdp::start(&config(topology)?).context("start the data plane")?;
    prepare(&mut xdp).context("prepare the tables")?;
    let pins = topology.scratch().bpffs().join("mqlb");
    let tables = Tables::new(&pins);
    let [mut none, mut half, mut all] = [const { Vec::new() }; 3];
    for _ in 0..count {
        let now = lb_user::datapath::now().max(LONG * 2);
        tables.fill(connections(now))?;
        none.push(sweep(&mut xdp, now, ENTRIES)?);
        half.push(sweep(&mut xdp, now + SHORT + 1, ENTRIES / 2)?);
        tables.fill(connections(now))?;
        all.push(sweep(&mut xdp, now + LONG + 1, 0)?);
    }
    let mut table = Table::new(["a pass over 1,000,000 connections", "ms", "ns per connection"]);
    for (name, samples) in [("none idle too long", none), ("half", half), ("all", all)] {
        let ms = median(&samples);
        let each = ms * 1e6 / f64::from(ENTRIES);
        table.row([name.to_owned(), figure(ms), figure(each)]);
    }
    let flows = bpf::open(&pins.join("maps").join(maps::FLOWS))?;
    Ok(format!("{table}\n{}", memory(bpf::bytes_per_entry(&flows)?)))
}

/// All of it is allocated ahead: entries and buckets when the table is made, ports with their peer.
fn memory(entry: f64) -> Table {
    let sum = entry + PORT_BYTES;
    let mut table = Table::new(["memory of a connection", "bytes", "aim"]);
    let none = "–".to_owned();
    table.row(["entry and bucket of the connection table".into(), figure(entry), none.clone()]);
    table.row(["source port".into(), figure(PORT_BYTES), none]);
    table.row(["together".into(), figure(sum), verdict("160", sum <= BYTES_AIM)]);
    table
}

/// Milliseconds for one pass, which leaves `left` entries.
fn sweep(xdp: &mut Xdp, now: u32, left: u32) -> Result<f64> {
    let began = Instant::now();
    let report = xdp.sweep(now, &DirectRings::default())?;
    let took = began.elapsed();
    ensure!(report.flows == u64::from(left), "{} entries were left, not {left}", report.flows);
    Ok(took.as_secs_f64() * 1e3)
}

fn config(topology: &Topology) -> Result<Config> {
    let mut config = balancer::config(topology);
    config["limits"] = json!({ "connections": ENTRIES });
    // The tables are filled by hand: any backend will do.
    for service in config["services"].as_array_mut().into_iter().flatten() {
        let family_of_vip = service["vip"].as_str().and_then(|vip| vip.parse::<IpAddr>().ok());
        let address = if family_of_vip.is_some_and(|vip| vip.is_ipv6()) {
            "fd77:2::11"
        } else {
            "10.77.2.11"
        };
        service["backends"] = json!([{ "name": "broker-1", "address": address, "port": 1883 }]);
    }
    Ok(lb_user::config::parse(&config.to_string())?)
}

/// Writes what the connections need: a peer for each of their tables of source ports.
fn prepare(xdp: &mut Xdp) -> Result<()> {
    let mut edits = vec![
        Edit::PutSettings(settings()),
        Edit::PutSource { number: 0, source: Source { address: Addr::v4([10, 77, 2, 2]) } },
    ];
    edits.extend((0..PEERS).map(|peer| Edit::PutPeer { key: key(peer), peer: FIRST_PEER + peer }));
    edits.push(Edit::PutBackend { id: BACKEND, backend: backend() });
    // The tables of source ports belong to a range of ports.
    xdp.apply(&edits[0])?;
    xdp.prepare(&edits)?;
    Ok(edits[1..].iter().try_for_each(|edit| xdp.apply(edit))?)
}

/// A million connections, last seen at tick `now`.
fn connections(now: u32) -> impl Iterator<Item = Connection> {
    (0..ENTRIES).map(move |number| {
        let (peer, index) = (number / u32::from(PORTS), number % u32::from(PORTS));
        let client = Addr::v4(Ipv4Addr::from_bits(number).octets());
        let flow = Flow {
            word: BACKEND << 8,
            nat_port: (FIRST_PORT + index as u16).to_be_bytes(),
            source: peer as u16,
            last_seen: now,
            idle_ticks: if number.is_multiple_of(2) { SHORT } else { LONG },
        };
        let key = FlowKey::new(client, [1, 2], 0);
        Connection { key, flow, peer: FIRST_PEER + peer, port_index: index }
    })
}

fn settings() -> Settings {
    Settings {
        first_port: FIRST_PORT,
        ports: PORTS,
        sources_v4: 1,
        pending_ticks: 10,
        closed_ticks: 60,
        rest_ticks: 60,
        ..Settings::default()
    }
}

const fn backend() -> Backend {
    Backend {
        address: Addr::v4([10, 77, 2, 11]),
        port: 1883u16.to_be_bytes(),
        flags: backend_flags::PRESENT | backend_flags::FORWARD | backend_flags::ACCEPT,
        service: 0,
        first_peer: FIRST_PEER,
        pad: 0,
    }
}

/// Peers of a broker differ in the balancer's address; here in the port, of which there are more.
const fn key(peer: u32) -> PeerKey {
    let (broker, source) = (Addr::v4([10, 77, 2, 11]), Addr::v4([10, 77, 2, 2]));
    PeerKey::new(broker, (peer as u16).to_be_bytes(), source)
}
