//! What can be said on the command line.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, Subcommand};

use super::{decap::DecapCommand, ring::RingSubcommand, sessions::SessionsArgs, trace::TraceArgs};
use crate::{
    config::{
        defaults,
        model::{Name, Weight},
    },
    control::rebalance::{MOVES_PER_SECOND, TOLERANCE_PERCENT},
};

const EXAMPLES: &str = "\
Examples:
  mqlb config check /etc/mqlb/mqlb.yaml     what is wrong with the file, if anything
  mqlb doctor -c /etc/mqlb/mqlb.yaml        what this host lacks, and how to mend it
  mqlb run -c /etc/mqlb/mqlb.yaml           attach, and balance until told otherwise
  mqlb status                               how it is going
  mqlb backend drain mqtt/broker-1 --wait   take a broker out, without disconnecting anybody
  mqlb explain 198.51.100.7:40000 192.0.2.10:1883
                                            which broker that client gets, and why

Exit codes: 0 done, 1 failed, 2 wrong usage or wrong configuration";

/// Load balancer for MQTT broker clusters, with its data plane in XDP
#[derive(Debug, Parser)]
#[command(name = "mqlb", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Args {
    /// Unix socket of the running mqlb
    #[arg(long, global = true, env = "MQLB_SOCKET", hide_env_values = true,
          default_value = defaults::SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Attach to the interfaces and balance, until SIGTERM
    Run(RunArgs),
    /// Work with configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make the configuration file the truth again, all of it or nothing
    ///
    /// Applies the difference between the file and what runs, and prints it. Connections to
    /// backends that stay are not touched. Changes made by command are dropped; only drained
    /// backends stay drained, because the file cannot say that. SIGHUP does the same.
    Reload {
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Show how it is going: tables, services, refused packets
    Status,
    /// Work with services
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Work with backends; a backend is written SERVICE/BACKEND
    #[command(subcommand)]
    Backend(BackendCommand),
    /// List or count connections
    #[command(after_help = "\
Examples:
  mqlb flows --client 198.51.100.7
  mqlb flows --backend mqtt/broker-1 --limit 20
  mqlb flows --count")]
    Flows(FlowsArgs),
    /// Say which backend a client's packets go to, and why
    #[command(after_help = "Examples:\n  mqlb explain 198.51.100.7:40000 192.0.2.10:1883\n  \
                            mqlb explain '[2001:db8::7]:40000' '[2001:db8::10]:1883'")]
    Explain {
        /// Address and port of the client
        #[arg(value_name = "CLIENT:PORT", value_parser = socket)]
        client: SocketAddr,
        /// Address and port that it connects to
        #[arg(value_name = "VIP:PORT", value_parser = socket)]
        vip: SocketAddr,
    },
    /// Work with rings: which backend gets which part of the new connections
    #[command(subcommand)]
    Ring(RingSubcommand),
    /// Follow chosen packets: as they came, what became of them, as they go on
    Trace(TraceArgs),
    /// Examine this host: what would break forwarding, why, and the command that mends it
    ///
    /// Changes nothing. The exit code is 1 if something would break. `mqlb run` examines the host
    /// too, before it attaches.
    Doctor(DoctorArgs),
    /// On the host of a broker: unwrap what the balancer wraps in `mode: ipip`
    #[command(subcommand)]
    Decap(DecapCommand),
    /// Take the data plane off all interfaces: every connection through it ends
    ///
    /// Removes whatever mqlb ever attached or pinned. Not possible while mqlb runs.
    Detach(DetachArgs),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  mqlb completions bash > /etc/bash_completion.d/mqlb")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signals: SIGTERM and SIGINT end the controller and leave the data plane forwarding; `mqlb detach`
ends that, too. SIGHUP reloads the configuration file.

To log the packets of a data plane that forwards already, end the controller and start it again with
--log-packets: the program is replaced in one step, and no connection notices. The same without the
option switches it off again.")]
pub(super) struct RunArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Attach even if this host is not set up for it (see `mqlb doctor`)
    #[arg(long)]
    pub force: bool,
    /// Log every packet with its verdict: for finding faults, it costs much (see below)
    #[arg(long)]
    pub log_packets: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Name every mistake in a configuration file; opens no port and changes nothing
    Check {
        /// Configuration file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// List the services
    #[command(visible_alias = "ls")]
    List,
    /// Move connections to backends that have too few, in `mode: mqtt`
    ///
    /// Closes connections of backends that have more than their share, and all of drained ones: first
    /// those without a session, the longest idle before others. Their clients connect again, and the
    /// policy leads them elsewhere. Shows how far it has come until it is done; it goes on without
    /// anybody who watches.
    #[command(after_help = "\
Examples:
  mqlb service rebalance mqtt --dry-run
  mqlb service rebalance mqtt --rate 20 --tolerance 5
  mqlb service rebalance mqtt --stop")]
    Rebalance(RebalanceArgs),
    /// List or forget which broker has whose session, with `mqtt: { sticky: {} }`
    Sessions(SessionsArgs),
}

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct RebalanceArgs {
    /// The service
    pub service: String,
    /// Only say what would move
    #[arg(long)]
    pub dry_run: bool,
    /// Connections that are moved per second, at most
    #[arg(long, value_name = "N", default_value_t = MOVES_PER_SECOND,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// By how many percent a backend may exceed its share
    #[arg(long, value_name = "PERCENT", default_value_t = TOLERANCE_PERCENT,
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub tolerance: u32,
    /// Leave clients with a session where they are: for brokers that do not share sessions
    #[arg(long)]
    pub keep_sessions: bool,
    /// Begin, and watch no further
    #[arg(long, conflicts_with = "dry_run")]
    pub no_wait: bool,
    /// End the one that goes on
    #[arg(long, conflicts_with_all = ["dry_run", "no_wait"])]
    pub stop: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum BackendCommand {
    /// List the backends
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this service
        #[arg(value_name = "SERVICE")]
        service: Option<String>,
    },
    /// Add a backend to a service
    #[command(after_help = "Example:\n  mqlb backend add mqtt/broker-4 10.0.1.14:1883 --weight 50")]
    Add {
        /// Its service and its name
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: NewRef,
        /// Where the broker listens; the service's port if none is given
        #[arg(value_name = "ADDRESS[:PORT]")]
        address: Place,
        /// Its share of the new connections relative to the others, 1 to 1000
        #[arg(long, value_parser = weight, default_value = "100")]
        weight: Weight,
    },
    /// Remove a backend; its connections are reset
    #[command(visible_alias = "rm")]
    Remove {
        /// The backend
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendRef,
    },
    /// Give a backend no new connections; those it has go on
    #[command(after_help = "\
Examples:
  mqlb backend drain mqtt/broker-1
  mqlb backend drain mqtt/broker-1 --wait --timeout 2h && ssh broker-1 reboot

A drained backend stays drained, over restarts and reloads, until `mqlb backend undrain`.")]
    Drain {
        /// The backend
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendRef,
        /// Wait until it has no connections left, and show how many there are
        #[arg(long)]
        wait: bool,
        /// Wait at most so long, such as 30s or 2h; fail if there are connections left
        #[arg(long, requires = "wait", value_name = "DURATION",
              value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Give a drained backend new connections again
    Undrain {
        /// The backend
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendRef,
    },
    /// Change the weight of a backend; its connections stay
    #[command(after_help = "Example:\n  mqlb backend weight mqtt/broker-1 50")]
    Weight {
        /// The backend
        #[arg(value_name = "SERVICE/BACKEND")]
        backend: BackendRef,
        /// Its share of the new connections relative to the others, 1 to 1000
        #[arg(value_parser = weight)]
        weight: Weight,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct FlowsArgs {
    /// Only those of this service
    #[arg(long, value_name = "SERVICE", conflicts_with = "backend")]
    pub service: Option<String>,
    /// Only those of this backend
    #[arg(long, value_name = "SERVICE/BACKEND")]
    pub backend: Option<BackendRef>,
    /// Only those of this client
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<std::net::IpAddr>,
    /// Only count them, by backend
    #[arg(long, conflicts_with = "limit")]
    pub count: bool,
    /// List at most so many
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

#[derive(Debug, clap::Args)]
pub(super) struct DetachArgs {
    /// Configuration file, for its `pin_dir`
    #[arg(short, long, value_name = "FILE", conflicts_with = "pin_dir")]
    pub config: Option<PathBuf>,
    /// The directory in bpffs that mqlb pinned its tables in
    #[arg(long, value_name = "DIR", default_value = defaults::PIN_DIR)]
    pub pin_dir: PathBuf,
}

/// A backend as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendRef {
    pub service: String,
    pub name: String,
}

impl FromStr for BackendRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, name)) if !service.is_empty() && !name.is_empty() => {
                Ok(Self { service: service.to_owned(), name: name.to_owned() })
            }
            _ => Err("a backend is written SERVICE/BACKEND, such as mqtt/broker-1".to_owned()),
        }
    }
}

/// A backend that does not exist yet, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewRef {
    pub service: String,
    pub name: Name,
}

impl FromStr for NewRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let BackendRef { service, name } = text.parse()?;
        let name = name.parse().map_err(|error| format!("the name {name:?} {error}"))?;
        Ok(Self { service, name })
    }
}

/// An address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub address: std::net::IpAddr,
    pub port: Option<u16>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self { address: socket.ip(), port: Some(socket.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse().map_err(|_| {
            "an address is written 10.0.1.14, 10.0.1.14:1883 or [2001:db8::14]:1883".to_owned()
        })?;
        Ok(Self { address, port: None })
    }
}

fn socket(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "address and port are written 198.51.100.7:40000 or [2001:db8::7]:40000")
}

pub(super) fn weight(text: &str) -> Result<Weight, String> {
    let number: u16 = text.parse().map_err(|_| "a weight is a number, 1 to 1000".to_owned())?;
    Weight::try_from(number).map_err(|error| {
        let drain = if number == 0 { "; to stop new connections, drain the backend" } else { "" };
        format!("{error}{drain}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_place_has_a_port_or_not() {
        let place = |text: &str| text.parse::<Place>().map(|place| place.port);
        assert_eq!(place("10.0.0.1"), Ok(None));
        assert_eq!(place("10.0.0.1:1883"), Ok(Some(1883)));
        assert_eq!(place("2001:db8::1"), Ok(None));
        assert_eq!(place("[2001:db8::1]"), Ok(None));
        assert_eq!(place("[2001:db8::1]:1883"), Ok(Some(1883)));
        assert!(place("broker").is_err());
        assert!(place("10.0.0.1:99999").is_err());
    }
}
