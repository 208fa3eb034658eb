//! What can be said to `mqlb trace`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use crate::{
    cli::args::BackendRef,
    control::trace::{Limits, client_prefix, verdicts_named},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mqlb trace --client 198.51.100.7
  mqlb trace --service mqtt --verdict drop --verdict reply
  mqlb trace --backend mqtt/broker-1 --count 50 -w broker-1.pcapng
  mqlb trace --service mqtt -w - | tshark -r - -T fields -e frame.comment

A packet must fit everything that is asked for, before or after it was rewritten: answers are
followed, too. A capture has each packet twice, as it came (interface in:NAME) and as it left
(out:NAME), with the verdict as its comment. While packets are followed every packet costs more; it
ends by itself, and at the latest when this command ends.")]
pub(in crate::cli) struct TraceArgs {
    /// Only those from or to this client: an address or a prefix
    #[arg(long, value_name = "ADDRESS[/BITS]", value_parser = client)]
    pub client: Option<String>,
    /// Only those from or to this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub client_port: Option<u16>,
    /// Only those of this service
    #[arg(long, value_name = "SERVICE|VIP:PORT", conflicts_with = "backend")]
    pub service: Option<String>,
    /// Only those of this backend; not in mode dsr, where packets do not show it
    #[arg(long, value_name = "SERVICE/BACKEND")]
    pub backend: Option<BackendRef>,
    /// Only those with this verdict, or one that leads to pass, forward, drop or reply; may be
    /// repeated
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub verdict: Vec<String>,
    /// Only one of so many
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(within(&Limits::EVERY)))]
    pub every: u32,
    /// End after so many packets
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(Limits::COUNT))]
    pub count: u64,
    /// End after so long, such as 30s or 5m; at most 1h
    #[arg(long, value_name = "DURATION", default_value = "1m",
          value_parser = trace_duration)]
    pub duration: Duration,
    /// Bytes of each packet for the capture
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(within(&Limits::SNAP_BYTES)))]
    pub snap: u32,
    /// Write a capture (pcapng) instead of lines; - is the output
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    pub write: Option<PathBuf>,
}

fn client(text: &str) -> Result<String, String> {
    client_prefix(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; {}", error.hint()))
}

fn verdict(text: &str) -> Result<String, String> {
    verdicts_named(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; {}", error.hint()))
}

fn trace_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let longest = Duration::from_secs(*Limits::DURATION_S.end());
    if duration.is_zero() || duration > longest {
        return Err("a trace takes 1s to 1h".to_owned());
    }
    Ok(duration)
}

/// As clap takes the limits of 32-bit numbers.
const fn within(range: &RangeInclusive<u64>) -> RangeInclusive<i64> {
    range.start().cast_signed()..=range.end().cast_signed()
}
