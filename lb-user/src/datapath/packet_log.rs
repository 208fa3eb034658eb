//! What the program says about single packets, when it was started to say it.

use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use lb_common::verdict::Verdict;
use log::{Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};

use super::{StartError, interface};

/// The stream of packet-level log lines.
pub struct PacketLog(EbpfLogger<Forward>);

impl fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketLog")
    }
}

impl PacketLog {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        let logger = EbpfLogger::init_with_logger(ebpf, Forward).map_err(|error| {
            StartError::Load { what: "open the packet log", reason: error.to_string() }
        })?;
        Ok(Self(logger))
    }

    /// Passes every line on to `tracing`, target `packet`; ends only with an error.
    pub async fn run(self) -> io::Result<()> {
        // SAFETY: the logger owns its ring buffer and thereby the file descriptor, which neither
        // changes nor is closed before the logger is dropped; nothing here replaces the logger.
        let source = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
        let mut source = source.map_err(io::Error::from)?;
        loop {
            let mut ready = source.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}

/// From `log`, which aya speaks, to `tracing`.
struct Forward;

impl Log for Forward {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        if let Some(line) = Line::parse(&text) {
            line.write();
        } else {
            tracing::warn!(target: "packet", "not understood: {text}");
        }
    }

    fn flush(&self) {}
}

/// Where a segment comes from and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    from: SocketAddr,
    to: SocketAddr,
}

impl Ends {
    /// Two addresses and two ports in hexadecimal digits.
    fn parse(hex: &str) -> Option<Self> {
        let address = |at: usize| {
            let bits = u128::from_str_radix(hex.get(at..at + 32)?, 16).ok()?;
            Some(Ipv6Addr::from_bits(bits).to_canonical())
        };
        let port = |at: usize| u16::from_str_radix(hex.get(at..at + 4)?, 16).ok();
        let from = SocketAddr::new(address(0)?, port(64)?);
        let to = SocketAddr::new(address(32)?, port(68)?);
        Some(Self { from, to })
    }

    /// Nowhere are the ends of what is no TCP segment that mqlb could balance.
    const fn is_somewhere(&self) -> bool {
        !self.from.ip().is_unspecified()
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without ports it is a packet with a segment inside.
        match (self.from.port(), self.to.port()) {
            (0, 0) => write!(f, "{} > {}", self.from.ip(), self.to.ip()),
            _ => write!(f, "{} > {}", self.from, self.to),
        }
    }
}

/// What the program says of one packet (`log` in `lb-ebpf/src/xdp/packet_log.rs`).
#[derive(Debug, PartialEq, Eq)]
struct Line {
    verdict: Verdict,
    /// Index of the interface it came in by.
    came_in: u32,
    /// Index of the interface it is sent out of, 0 if it is not.
    goes_out: u32,
    /// As it came in.
    came: Ends,
    /// As it goes on.
    goes: Ends,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [verdict, came_in, goes_out, came, goes] = words.try_into().ok()?;
        Some(Self {
            verdict: *Verdict::ALL.get(verdict.parse::<usize>().ok()?)?,
            came_in: came_in.parse().ok()?,
            goes_out: goes_out.parse().ok()?,
            came: Ends::parse(came)?,
            goes: Ends::parse(goes)?,
        })
    }

    fn write(&self) {
        let name = |index| interface::name(index).unwrap_or_else(|| format!("#{index}"));
        let goes_out = (self.goes_out != 0).then(|| name(self.goes_out));
        let came = self.came.is_somewhere().then_some(self.came);
        let rewritten = (self.goes != self.came).then_some(self.goes);
        tracing::info!(
            target: "packet",
            verdict = self.verdict.name(),
            // `None` leaves the field out.
            packet = came.map(tracing::field::display),
            rewritten = rewritten.map(tracing::field::display),
            "in" = name(self.came_in),
            out = goes_out,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Ends {
        Ends { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    const NOTHING: &str =
        "000000000000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_line_of_the_program_is_understood() {
        let came = "00000000000000000000ffffc633640700000000000000000000ffffc000020a9c40075b";
        let goes = "fd770002000000000000000000000002fd7700020000000000000000000000113a9a075b";
        let line = Line::parse(&format!("0 2 3 {came} {goes}")).unwrap();
        let expected = Line {
            verdict: Verdict::ToBackend,
            came_in: 2,
            goes_out: 3,
            came: ends("198.51.100.7:40000", "192.0.2.10:1883"),
            goes: ends("[fd77:2::2]:15002", "[fd77:2::11]:1883"),
        };
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_no_segment_has_no_ends() {
        let line =
            Line::parse(&format!("{} 2 0 {NOTHING} {NOTHING}", Verdict::NotIp as u32)).unwrap();
        assert_eq!((line.verdict, line.came_in), (Verdict::NotIp, 2));
        assert!(!line.came.is_somewhere() && line.goes == line.came);
    }

    #[test]
    fn a_packet_with_a_segment_inside_has_no_ports() {
        assert_eq!(ends("10.99.3.4:0", "10.0.1.11:0").to_string(), "10.99.3.4 > 10.0.1.11");
    }

    #[test]
    fn a_line_of_another_program_is_not_misread() {
        let unknown_verdict = format!("999 2 0 {NOTHING} {NOTHING}");
        for text in ["to_backend", "", "0 2 3", "0 2 3 ff ff", &unknown_verdict] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
    }
}
