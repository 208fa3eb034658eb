//! Clients that come and go.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncReadExt as _;

use super::{Shared, packets, socket};

pub async fn live(shared: Arc<Shared>, client: usize) {
    let connect = packets::connect(shared.number, client);
    shared.note_ready();
    for turn in 0.. {
        match come_and_go(&shared, client, turn, &connect).await {
            Ok(()) => shared.note_done(),
            Err(error) => shared.note_failure(&error),
        }
    }
}

/// The broker closes first: then no port of the clients waits for late segments, and their kernel
/// does not run out of them.
async fn come_and_go(shared: &Shared, client: usize, turn: usize, connect: &[u8]) -> Result<()> {
    let mut stream = socket::open(shared, client, turn, connect).await?;
    socket::send(&mut stream, &packets::DISCONNECT).await.context("send DISCONNECT")?;
    match stream.read(&mut [0]).await {
        Ok(0) => Ok(()),
        // Without taking leave of TLS, as some do.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Ok(_) => bail!("the broker answered DISCONNECT"),
        Err(error) => Err(error).context("wait until the broker closes"),
    }
}
