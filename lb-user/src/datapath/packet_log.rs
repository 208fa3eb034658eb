//! What the program says about single packets, when it was started to say it.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use tokio::io::{Interest, unix::AsyncFd};

use super::StartError;

/// The stream of packet-level log lines.
pub struct PacketLog(EbpfLogger<Forward>);

impl std::fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
        let text = record.args();
        match record.level() {
            Level::Error => tracing::error!(target: "packet", "{text}"),
            Level::Warn => tracing::warn!(target: "packet", "{text}"),
            Level::Info => tracing::info!(target: "packet", "{text}"),
            Level::Debug => tracing::debug!(target: "packet", "{text}"),
            Level::Trace => tracing::trace!(target: "packet", "{text}"),
        }
    }

    fn flush(&self) {}
}
