//! `mqlb trace`

mod args;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

pub(super) use args::TraceArgs;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, failure::Failure, output::Output};
use crate::{
    api::{
        client::Client,
        types::{FrameReport, TraceEnd, TraceLine, TraceOrder, TracePacket, WhyEnded},
    },
    pcapng::{Direction, Packet, Writer},
};

/// Follows packets, and writes them down or says what became of them.
pub(super) async fn trace(client: &Client, output: Output, args: TraceArgs) -> Outcome {
    let order = order(&args);
    // Before packets are followed: what cannot be written costs nothing, and Ctrl-C from then on is
    // an orderly end.
    let mut sink = Sink::open(output, args.write.as_deref())?;
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::failed(&error, "Ctrl-C can't be handled"))?;
    let mut packets = 0;
    let mut lines = tokio::select! {
        lines = client.trace(&order) => lines?,
        // Who is not listened to any more is not followed for.
        _ = interrupts.recv() => {
            output.message(&summary(packets, None));
            return Ok(());
        }
    };
    let mut interrupted = false;
    let end = loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = interrupts.recv() => {
                // The second time at once; the first time with what the last line has to say.
                if interrupted {
                    break None;
                }
                interrupted = true;
                client.end_trace().await?;
                continue;
            }
        };
        match line {
            Some(TraceLine::Packet(packet)) => {
                sink.packet(&packet)?;
                packets += 1;
            }
            Some(TraceLine::End(end)) => break Some(end),
            Some(TraceLine::Error(error)) => {
                return Err(Failure::failed(&error, "see the log of the running mqlb"));
            }
            None => {
                return Err(Failure::failed(&"mqlb ended the trace", "see its log"));
            }
        }
    };
    drop(lines);
    output.message(&summary(packets, end));
    Ok(())
}

fn order(args: &TraceArgs) -> TraceOrder {
    let (service, backend) = match &args.backend {
        Some(backend) => (Some(backend.service.clone()), Some(backend.name.clone())),
        None => (args.service.clone(), None),
    };
    TraceOrder {
        client: args.client.clone(),
        client_port: args.client_port,
        service,
        backend,
        verdicts: args.verdict.clone(),
        every: args.every,
        count: args.count,
        // A part of a second is one more, so that nothing is too short.
        duration_s: args.duration.as_secs() + u64::from(args.duration.subsec_nanos() > 0),
        snap_bytes: args.snap,
    }
}

fn summary(packets: u64, end: Option<TraceEnd>) -> String {
    let plural = if packets == 1 { "" } else { "s" };
    let why = match end.map(|end| end.why) {
        Some(WhyEnded::Count) => ": as many as asked for (--count)",
        Some(WhyEnded::Duration) => ": the time is over (--duration)",
        Some(WhyEnded::Told | WhyEnded::Gone) | None => "",
    };
    let lost = match end {
        Some(TraceEnd { lost, .. }) if lost > 0 => {
            format!("; {lost} were lost: narrow the filter, or take one of so many with --every")
        }
        _ => String::new(),
    };
    format!("{packets} packet{plural}{why}{lost}")
}

/// Where packets go to.
enum Sink {
    Lines(Output),
    Capture(Writer<BufWriter<Box<dyn Write>>>),
}

impl Sink {
    fn open(output: Output, file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else { return Ok(Self::Lines(output)) };
        let failed = |error: io::Error| {
            let error = format!("write {}: {error}", path.display());
            Failure::failed(&error, "name a file that can be written, or - for the output")
        };
        let out: Box<dyn Write> = if path == Path::new("-") {
            if io::stdout().is_terminal() {
                let hint = "name a file, or send the output to another program: -w - | tshark -r -";
                return Err(Failure::wrong(&"a capture is not for a terminal", hint));
            }
            Box::new(io::stdout())
        } else {
            // It holds what clients send: passwords, too.
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            Box::new(options.open(path).map_err(failed)?)
        };
        let program = concat!("mqlb ", env!("CARGO_PKG_VERSION"));
        Ok(Self::Capture(Writer::begin(BufWriter::new(out), program).map_err(failed)?))
    }

    fn packet(&mut self, packet: &TracePacket) -> Outcome {
        match self {
            Self::Lines(output) if output.json => {
                let line = serde_json::to_string(packet)
                    .map_err(|error| Failure::failed(&error, "this is a bug in mqlb"))?;
                output.text(&format!("{line}\n"))
            }
            Self::Lines(output) => output.text(&line(packet)),
            Self::Capture(writer) => capture(writer, packet).map_err(|error| match error.kind() {
                // Whoever read it has read enough.
                io::ErrorKind::BrokenPipe => Failure::silent(0),
                _ => Failure::failed(&error, "the capture could not be written"),
            }),
        }
    }
}

/// One packet in a line: when, as it came, what became of it, as it goes on.
fn line(packet: &TracePacket) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(packet.time_us);
    let time = humantime::format_rfc3339_micros(time).to_string();
    // The day is known to whoever looks on.
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time);
    let backend = packet.backend.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let goes = match &packet.goes {
        Some(goes) if goes.from != packet.came.from || goes.to != packet.came.to => {
            format!(" | {} {}", left_by(packet), ends(goes))
        }
        Some(goes) => format!(" | {} to {}", left_by(packet), ethernet(goes)),
        None => String::new(),
    };
    let (by, verdict) = (&packet.r#in, &packet.verdict);
    format!("{time} {by} {} {verdict}{backend}{goes}\n", ends(&packet.came))
}

fn ends(frame: &FrameReport) -> String {
    let what = match (&frame.from, &frame.to) {
        (Some(from), Some(to)) => format!("{from} > {to}"),
        _ => "not IP".to_owned(),
    };
    let flags = match frame.tcp_flags.as_str() {
        "" => String::new(),
        flags => format!(" [{flags}]"),
    };
    format!("{what}{flags} {} bytes", frame.length)
}

/// The Ethernet address that a frame is sent to.
fn ethernet(frame: &FrameReport) -> String {
    let octets = frame.bytes().into_iter().take(6);
    octets.map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

/// Where a packet that goes on leaves: by an interface, or upwards.
fn left_by(packet: &TracePacket) -> &str {
    match (&packet.out, packet.verdict.as_str()) {
        (Some(out), _) => out,
        (None, verdict) if verdict.ends_with("_by_kernel") => "kernel",
        // An answer leaves where the packet came in.
        (None, _) => &packet.r#in,
    }
}

/// Both sides of a packet, the second one only if it goes on.
fn capture<W: Write>(writer: &mut Writer<W>, packet: &TracePacket) -> io::Result<()> {
    let backend = packet.backend.as_ref().map(|name| format!(", backend {name}"));
    let comment = format!("verdict {}{}", packet.verdict, backend.unwrap_or_default());
    let mut put = |frame: &FrameReport, interface: &str, direction| {
        writer.packet(&Packet {
            time_us: packet.time_us,
            interface,
            direction,
            length: frame.length,
            bytes: &frame.bytes(),
            comment: &comment,
        })
    };
    put(&packet.came, &format!("in:{}", packet.r#in), Direction::Inbound)?;
    match &packet.goes {
        Some(goes) => put(goes, &format!("out:{}", left_by(packet)), Direction::Outbound),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: &str, to: &str) -> FrameReport {
        FrameReport {
            from: Some(from.into()),
            to: Some(to.into()),
            tcp_flags: "S".into(),
            length: 74,
            bytes: "020000000011".into(),
        }
    }

    fn packet() -> TracePacket {
        TracePacket {
            time_us: 1_700_000_000_123_456,
            verdict: "to_backend".into(),
            backend: Some("mqtt/b1".into()),
            r#in: "eth0".into(),
            out: Some("eth1".into()),
            came: frame("198.51.100.7:40000", "192.0.2.10:1883"),
            goes: Some(frame("10.0.0.2:15000", "10.0.1.1:1883")),
        }
    }

    #[test]
    fn a_line_says_how_a_packet_came_and_how_it_goes_on() {
        assert_eq!(
            line(&packet()),
            "22:13:20.123456Z eth0 198.51.100.7:40000 > 192.0.2.10:1883 [S] 74 bytes to_backend \
             mqtt/b1 | eth1 10.0.0.2:15000 > 10.0.1.1:1883 [S] 74 bytes\n"
        );
    }

    #[test]
    fn a_packet_with_the_same_addresses_is_told_by_its_ethernet_address() {
        let packet = TracePacket { goes: Some(packet().came), backend: None, ..packet() };
        let line = line(&packet);
        assert!(line.ends_with(" to_backend | eth1 to 02:00:00:00:00:11\n"), "{line}");
    }

    #[test]
    fn a_packet_that_goes_nowhere_has_a_verdict_only() {
        let packet = TracePacket {
            verdict: "no_route".into(),
            backend: None,
            out: None,
            goes: None,
            ..packet()
        };
        assert!(line(&packet).ends_with(" 74 bytes no_route\n"));
    }

    #[test]
    fn the_end_says_what_was_lost() {
        let end = TraceEnd { why: WhyEnded::Count, packets: 1, lost: 7 };
        let text = summary(1, Some(end));
        assert!(
            text.starts_with("1 packet: as many as asked for (--count); 7 were lost"),
            "{text}"
        );
        assert_eq!(summary(3, None), "3 packets");
    }
}
