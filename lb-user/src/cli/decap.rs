//! `mqlb decap`

use std::{
    collections::BTreeSet,
    fmt::Display,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value, json};

use super::{
    Outcome,
    failure::Failure,
    output::Output,
    table::{Cell, Table},
};
use crate::{
    config::{
        defaults,
        model::{InterfaceSettings, Prefix, XdpMode},
        rules::{self, Role},
    },
    datapath::{
        InterfaceStatus, StartError,
        decap::{self, Allowed, DecapStatus, Unwrapping},
        interface_index,
    },
    netlink::{Netlink, addresses},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum DecapCommand {
    /// Unwrap packets on these interfaces, until `mqlb decap detach`
    ///
    /// The program stays when this command has ended, and is gone after a reboot. To change what is
    /// allowed, attach again: no packet is missed.
    #[command(after_help = "\
Examples:
  mqlb decap attach --interface eth0 --from 10.99.0.0/16 --vip 192.0.2.10

The broker's host needs the VIP on its loopback interface, too: see docs/ipip.md.")]
    Attach(AttachArgs),
    /// Show what is unwrapped, and what was not and why
    Status(PinDir),
    /// Take the program off all interfaces
    Detach(PinDir),
}

#[derive(Debug, clap::Args)]
pub(super) struct AttachArgs {
    /// An interface that wrapped packets come in by; may be given several times
    #[arg(long = "interface", value_name = "NAME", required = true)]
    interfaces: Vec<String>,
    /// Who may wrap: a prefix of the balancer's `tunnel` section; may be given several times
    #[arg(long, value_name = "PREFIX", required = true, value_parser = from)]
    from: Vec<Prefix>,
    /// An address that packets inside are for: a VIP; may be given several times
    #[arg(long = "vip", value_name = "ADDRESS", required = true, value_parser = vip)]
    vips: Vec<IpAddr>,
    /// An address of this host that wrapped packets are for; by default those of the interfaces
    #[arg(long, value_name = "ADDRESS", value_parser = own)]
    to: Vec<IpAddr>,
    /// How to attach: `native` in the driver, `generic` on any interface and slower
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = xdp_mode())]
    xdp: XdpMode,
    #[command(flatten)]
    pin_dir: PinDir,
}

#[derive(Debug, clap::Args)]
pub(super) struct PinDir {
    /// The directory in bpffs that the program is pinned in
    #[arg(long, value_name = "DIR", default_value = defaults::DECAP_PIN_DIR)]
    pin_dir: PathBuf,
}

pub(super) fn decap(command: &DecapCommand, output: Output) -> Outcome {
    match command {
        DecapCommand::Attach(args) => attach(args, output),
        DecapCommand::Status(PinDir { pin_dir }) => {
            let status = status(pin_dir)?;
            if output.json { output.data(&data(&status)) } else { show(&status, output) }
        }
        DecapCommand::Detach(PinDir { pin_dir }) => {
            let there = decap::detach(pin_dir).map_err(|error| failed(&error))?;
            let done = if there { "detached: nothing is left in" } else { "nothing to detach in" };
            if output.json {
                output.data(&json!({ "detached": there, "pin_dir": pin_dir }))
            } else {
                output.text(&format!("{done} {}\n", pin_dir.display()))
            }
        }
    }
}

fn attach(args: &AttachArgs, output: Output) -> Outcome {
    let held = addresses(&args.interfaces)?;
    let vips: BTreeSet<IpAddr> = args.vips.iter().copied().collect();
    let to: BTreeSet<IpAddr> = if args.to.is_empty() {
        let useful = |address: &&IpAddr| rules::usable(**address, Role::Backend).is_ok();
        held.of_interfaces.iter().filter(useful).copied().collect()
    } else {
        args.to.iter().copied().collect()
    };
    let to: Vec<IpAddr> = to.difference(&vips).copied().collect();
    if to.is_empty() {
        let error = "the interfaces have no address that wrapped packets could be sent to";
        return Err(Failure::failed(&error, "name the broker's address with `--to ADDRESS`"));
    }
    for vip in vips.difference(&held.all) {
        output.message(&format!(
            "warning: {vip} is no address of this host, which will not take packets for it\n  \
             hint: ip address add {vip}/{} dev lo",
            if vip.is_ipv4() { 32 } else { 128 }
        ));
    }
    let interface = |name: &String| InterfaceSettings { name: name.clone(), xdp: args.xdp };
    let interfaces = args.interfaces.iter().collect::<BTreeSet<_>>().into_iter();
    let from = args.from.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let wanted = Unwrapping {
        interfaces: interfaces.map(interface).collect(),
        allowed: Allowed { from, to, vips: vips.into_iter().collect() },
    };
    decap::attach(&args.pin_dir.pin_dir, &wanted).map_err(|error| failed(&error))?;
    let status = status(&args.pin_dir.pin_dir)?;
    if output.json {
        output.data(&data(&status))
    } else {
        let on =
            status.interfaces.iter().map(|InterfaceStatus { name, attached }| match attached {
                Some(attached) => format!("{name} ({})", attached.mode),
                None => name.clone(),
            });
        let on: Vec<String> = on.collect();
        output.text(&format!("attached to {}\n{}", on.join(", "), allowed(&status.allowed)))
    }
}

struct Held {
    of_interfaces: BTreeSet<IpAddr>,
    all: BTreeSet<IpAddr>,
}

/// The addresses of this host.
fn addresses(interfaces: &[String]) -> Result<Held, Failure> {
    let listed = Netlink::route().and_then(|mut netlink| addresses::list(&mut netlink));
    let hint = "`ip address` shows whether the kernel answers";
    let listed = listed.map_err(|error| Failure::failed(&error, hint))?;
    let mut wanted = BTreeSet::new();
    for name in interfaces {
        let error = format!("there is no interface {name}");
        let index =
            interface_index(name).ok_or_else(|| Failure::failed(&error, "`ip link` lists them"))?;
        wanted.insert(index);
    }
    let of_interfaces = listed.iter().filter(|one| wanted.contains(&one.interface));
    Ok(Held {
        of_interfaces: of_interfaces.map(|one| one.network.address).collect(),
        all: listed.iter().map(|one| one.network.address).collect(),
    })
}

fn status(pin_dir: &Path) -> Result<DecapStatus, Failure> {
    decap::status(pin_dir).map_err(|error| failed(&error))?.ok_or_else(|| {
        let error = format!("nothing is unwrapped here: {} does not exist", pin_dir.display());
        Failure::failed(&error, "`mqlb decap attach --help` shows how to begin")
    })
}

fn failed(error: &StartError) -> Failure {
    // Most name a hint of their own.
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((said, hint)) => Failure::failed(&said, hint),
        None => Failure::failed(&text, "run as root, on the host of the broker"),
    }
}

fn show(status: &DecapStatus, output: Output) -> Outcome {
    let mut interfaces = Table::new(&["INTERFACE", "XDP", "PROGRAM"]);
    for InterfaceStatus { name, attached } in &status.interfaces {
        let (mode, program) = match attached {
            Some(attached) => (Cell::good(attached.mode), Cell::number(attached.program_id)),
            None => (Cell::bad("off"), Cell::number("-")),
        };
        interfaces.row(vec![Cell::text(name), mode, program]);
    }
    let mut verdicts = Table::new(&["VERDICT", "PACKETS"]);
    for (verdict, packets) in status.verdicts.iter().filter(|(_, packets)| *packets > 0) {
        verdicts.row(vec![Cell::text(verdict.name()), Cell::number(packets)]);
    }
    let (interfaces, verdicts) = (interfaces.render(output.colour), verdicts.render(output.colour));
    output.text(&format!("{interfaces}\n{}\n{verdicts}", allowed(&status.allowed)))
}

fn allowed(allowed: &Allowed) -> String {
    let Allowed { from, to, vips } = allowed;
    format!("from  {}\nto    {}\nvips  {}\n", listed(from), listed(to), listed(vips))
}

fn listed(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn data(status: &DecapStatus) -> Value {
    let interfaces: Vec<Value> = status
        .interfaces
        .iter()
        .map(|InterfaceStatus { name, attached }| {
            json!({
                "name": name,
                "xdp": attached.map(|attached| attached.mode),
                "program_id": attached.map(|attached| attached.program_id),
            })
        })
        .collect();
    let verdicts: Map<String, Value> = status
        .verdicts
        .iter()
        .map(|(verdict, packets)| (verdict.name().to_owned(), json!(packets)))
        .collect();
    let Allowed { from, to, vips } = &status.allowed;
    json!({
        "interfaces": interfaces, "from": from, "to": to, "vips": vips, "verdicts": verdicts,
    })
}

fn from(text: &str) -> Result<Prefix, String> {
    let prefix: Prefix = text.parse().map_err(|error| format!("{text:?} {error}"))?;
    // The lists hold IPv4 addresses in their IPv4-mapped form.
    let mapped = IpAddr::V6(Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0, 0]));
    if prefix.bits() == 0 || prefix.contains(mapped) {
        return Err(format!("{text:?} would let anybody wrap; name the balancers' prefix"));
    }
    Ok(prefix)
}

fn vip(text: &str) -> Result<IpAddr, String> {
    address(text, Role::Vip)
}

fn own(text: &str) -> Result<IpAddr, String> {
    address(text, Role::Backend)
}

fn address(text: &str, role: Role) -> Result<IpAddr, String> {
    let address = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
    rules::usable(address, role).map_err(|fault| fault.to_string())?;
    Ok(address)
}

fn xdp_mode() -> impl TypedValueParser<Value = XdpMode> {
    PossibleValuesParser::new(["auto", "native", "generic"]).map(|word| match word.as_str() {
        "native" => XdpMode::Native,
        "generic" => XdpMode::Generic,
        _ => XdpMode::Auto,
    })
}
