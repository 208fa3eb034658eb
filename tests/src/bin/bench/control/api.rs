//! The controller's socket, spoken to without a program or a library in between.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Where the controller listens.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Sends a request and waits for its answer, which must be a good one.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<()> {
        let answer = self.exchange(method, path, body);
        let answer = answer.with_context(|| format!("{method} {path}"))?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{method} {path}: {answer}");
        Ok(())
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: mqlb\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
