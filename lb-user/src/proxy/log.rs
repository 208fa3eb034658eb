//! The log of connections: one JSON object per line, when a connection has ended or was refused.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use serde::Serialize;

use crate::privileges;

/// Lines that may wait for the disk. When there are more, they are lost, and counted: connections do
/// not wait for a log.
const MOST_WAITING: usize = 8192;

/// The way to an open log; closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct ConnectionLog {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

/// A connection that ended, or was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    /// When it ended: seconds since 1970, with milliseconds.
    pub time: f64,
    /// Its service.
    pub service: &'a str,
    /// The client.
    pub client: SocketAddr,
    /// How long it was there, in milliseconds.
    pub duration_ms: u64,
    /// Why it ended.
    pub end: &'a str,
    /// More about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The server that it asked for by TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<&'a str>,
    /// What the client said; nothing if its CONNECT never came.
    #[serde(flatten)]
    pub connect: Option<ConnectPart<'a>>,
    /// Where it was led to; nothing if it was refused.
    #[serde(flatten)]
    pub led: Option<LedPart<'a>>,
}

/// What the client said.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectPart<'a> {
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<&'a str>,
    /// The version of MQTT.
    pub version: String,
}

/// Where it was led to.
#[derive(Clone, Debug, Serialize)]
pub struct LedPart<'a> {
    /// The backend.
    pub backend: &'a str,
    /// Where the broker listens.
    pub broker: SocketAddr,
    /// Our end of the connection to the broker.
    pub source: SocketAddr,
    /// Why it was led there.
    pub why: &'a str,
    /// Bytes to the broker.
    pub bytes_to_backend: u64,
    /// Bytes to the client.
    pub bytes_to_client: u64,
}

impl ConnectionLog {
    /// Opens the log in the file `path`, behind what is in it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let (lines, waiting) = sync_channel(MOST_WAITING);
        // The disk may stand still, and must hold up nothing but this thread.
        thread::Builder::new()
            .name("connection-log".into())
            .spawn(move || write(file, &waiting))?;
        Ok(Self { lines, lost: Arc::default() })
    }

    /// Puts down a line, if there is room.
    pub fn put(&self, line: &Line<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(text)
        {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

fn write(file: File, waiting: &Receiver<Vec<u8>>) {
    // It may have been started before the others gave up theirs, and needs none.
    if let Err(error) = privileges::drop_from_this_thread() {
        tracing::error!(%error, "the log of connections keeps its privileges");
    }
    let mut file = BufWriter::new(file);
    let mut complained = false;
    while let Ok(first) = waiting.recv() {
        let mut result = file.write_all(&first);
        // All that is there, then at once to the disk: nobody waits for a full buffer.
        while let Ok(line) = waiting.try_recv() {
            result = result.and_then(|()| file.write_all(&line));
        }
        match result.and_then(|()| file.flush()) {
            Ok(()) => complained = false,
            Err(error) if !complained => {
                tracing::error!(%error, "the log of connections cannot be written");
                complained = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_follow_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connections.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = ConnectionLog::open(&path).unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 1883));
        log.put(&Line {
            time: 1.5,
            service: "mqtt",
            client: address,
            duration_ms: 10,
            end: "not_connect",
            error: None,
            server_name: None,
            connect: None,
            led: None,
        });
        log.put(&Line {
            time: 2.5,
            service: "mqtt",
            client: address,
            duration_ms: 20,
            end: "idle",
            error: None,
            server_name: Some("broker.example"),
            connect: Some(ConnectPart {
                client_id: "a\"b\n",
                username: None,
                version: "MQTT 5.0".into(),
            }),
            led: Some(LedPart {
                backend: "b1",
                broker: address,
                source: address,
                why: "its turn",
                bytes_to_backend: 1,
                bytes_to_client: 2,
            }),
        });
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let text = loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.lines().count() == 3 {
                break text;
            }
            assert!(std::time::Instant::now() < deadline, "{text}");
            thread::sleep(std::time::Duration::from_millis(5));
        };
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "before");
        let refused = r#"{"time":1.5,"service":"mqtt","client":"192.0.2.1:1883","duration_ms":10,"end":"not_connect"}"#;
        assert_eq!(lines[1], refused);
        let ended: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(ended["client_id"], "a\"b\n");
        assert_eq!(ended["server_name"], "broker.example");
        assert_eq!((&ended["backend"], &ended["bytes_to_client"]), (&"b1".into(), &2.into()));
    }
}
