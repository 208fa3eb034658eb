//! From a command to the ring in place, and to the answer.
//!
//! The two differ by what the kernel waits for: having swapped the pointer to the ring, it returns
//! only when no packet is under way on the old one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::balancer::Balancer;
use serde_json::{Value, json};

use super::api::Api;
use super::network::{self, Network, SERVICE};
use super::rings::Rings;
use super::{BACKENDS, Counts, median_and_p99};
use crate::statistics::median;
use crate::table::{Table, figure, verdict};

const RING_AIM_MS: f64 = 10.0;

const CHANGE_LIMIT: Duration = Duration::from_secs(2);

/// A command, as a request and as arguments of the program.
struct Command {
    name: &'static str,
    method: &'static str,
    path: String,
    body: Option<Value>,
    arguments: String,
}

/// How long one took, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    in_place: Vec<f64>,
    answered: Vec<f64>,
    by_program: Vec<f64>,
}

pub fn measure(mqlb: &Path, counts: &Counts) -> Result<String> {
    let network = Network::build()?;
    let balancer = Balancer::start_program(&network.topology, &network.config(), mqlb.into())?;
    balancer.wait_active(CHANGE_LIMIT)?;
    let scratch = network.topology.scratch();
    let api = Api::new(&scratch.join("mqlb.sock"));
    let rings = Rings::open(&scratch.bpffs().join("mqlb/maps"))?;
    let commands = commands();
    let mut times: Vec<Times> = commands.iter().map(|_| Times::default()).collect();
    for _ in 0..counts.commands {
        for (command, times) in commands.iter().zip(&mut times) {
            let call = || api.call(command.method, &command.path, command.body.as_ref());
            let (in_place, answered) = rings.time(call).context(command.name)?;
            times.in_place.push(in_place);
            times.answered.push(answered);
            settle(&api)?;
        }
    }
    for _ in 0..counts.programs {
        for (command, times) in commands.iter().zip(&mut times) {
            let began = Instant::now();
            balancer.run_ctl(&command.arguments)?;
            times.by_program.push(began.elapsed().as_secs_f64() * 1e3);
            settle(&api)?;
        }
    }
    Ok(write(&commands, &times))
}

/// Waits until the controller has nothing left to do: it answers one after the other, and a backend
/// that was added has been found up before its ring was in place.
fn settle(api: &Api) -> Result<()> {
    api.call("GET", "/v1/status", None)
}

fn write(commands: &[Command], times: &[Times]) -> String {
    let mut table = Table::new([
        "with 100 backends, ms",
        "ring in place",
        "p99",
        "answered",
        "p99",
        "by the program",
        "p99",
        "aim for the ring",
    ]);
    for (command, times) in commands.iter().zip(times) {
        let all = [&times.in_place, &times.answered, &times.by_program];
        let figures = all.into_iter().flat_map(|samples| median_and_p99(samples));
        let aim =
            verdict(&format!("{} ms", figure(RING_AIM_MS)), median(&times.in_place) <= RING_AIM_MS);
        table.row([command.name.to_owned()].into_iter().chain(figures).chain([aim]));
    }
    table.to_string()
}

/// One after the other they lead back to where they began.
fn commands() -> Vec<Command> {
    let services = format!("/v1/services/{SERVICE}/backends");
    let [some, new] = [network::name(7), network::name(BACKENDS)];
    let address = network::address(BACKENDS);
    let command = |name, method, path: String, body, arguments: String| {
        let arguments = format!("backend {arguments}");
        Command { name, method, path: format!("{services}{path}"), body, arguments }
    };
    let weigh = |name, weight: u32| {
        let body = Some(json!({ "weight": weight }));
        let arguments = format!("weight {SERVICE}/{some} {weight}");
        command(name, "PUT", format!("/{some}/weight"), body, arguments)
    };
    let with = |name, verb: &str| {
        command(name, "POST", format!("/{some}/{verb}"), None, format!("{verb} {SERVICE}/{some}"))
    };
    let add = format!("add {SERVICE}/{new} {address}");
    let remove = format!("remove {SERVICE}/{new}");
    vec![
        weigh("weight, less", 50),
        weigh("weight, as before", 100),
        with("drain", "drain"),
        with("undrain", "undrain"),
        command("add", "POST", String::new(), Some(network::backend(BACKENDS)), add),
        command("remove", "DELETE", format!("/{new}"), None, remove),
    ]
}
