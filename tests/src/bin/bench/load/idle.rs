//! Clients that connect and then are silent.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;

use super::{Shared, socket};

pub async fn live(shared: Arc<Shared>, client: usize) {
    let ended = match socket::open_in_turn(&shared, client).await {
        Ok(mut stream) => {
            shared.note_ready();
            // Nothing comes: this lasts as long as the connection.
            stream.read(&mut [0]).await.context("the connection ended")
        }
        Err(error) => Err(error),
    };
    let error = ended.err().unwrap_or_else(|| anyhow::anyhow!("the broker spoke or closed"));
    shared.note_failure(&error);
}
