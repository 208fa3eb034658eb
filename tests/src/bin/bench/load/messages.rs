//! Clients that publish to themselves, at `QoS` 0.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Shared, packets, socket};

/// `pause` is from one message to the next; without it the next follows the return of the last.
pub async fn live(shared: Arc<Shared>, client: usize, pause: Option<Duration>) {
    if let Err(error) = exchange(&shared, client, pause).await {
        shared.note_failure(&error);
    }
}

async fn exchange(shared: &Shared, client: usize, pause: Option<Duration>) -> Result<()> {
    let mut stream = socket::open_in_turn(shared, client).await?;
    socket::send(&mut stream, &packets::subscribe(client)).await.context("send SUBSCRIBE")?;
    socket::expect(&mut stream, &packets::SUBACK).await.context("wait for SUBACK")?;
    shared.note_ready();
    let mut round =
        Round { stream, sent: packets::publish(client), returned: Vec::new(), count: 0 };
    round.returned.resize(round.sent.len(), 0);
    let Some(pause) = pause else {
        loop {
            round.make().await?;
            shared.note_done();
        }
    };
    // Clients that started together don't speak together.
    let offset = pause.mul_f64(client as f64 / shared.clients as f64);
    let mut times = interval_at(Instant::now() + offset, pause);
    times.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        times.tick().await;
        let began = Instant::now();
        round.make().await?;
        let took = began.elapsed().as_nanos() as u64;
        shared.note_done();
        shared.latency().saturating_record(took);
    }
}

/// A message's way to the broker and back.
struct Round {
    stream: socket::Stream,
    sent: Vec<u8>,
    returned: Vec<u8>,
    count: u64,
}

impl Round {
    async fn make(&mut self) -> Result<()> {
        self.count += 1;
        packets::number(&mut self.sent, self.count);
        socket::send(&mut self.stream, &self.sent).await.context("publish")?;
        self.stream.read_exact(&mut self.returned).await.context("wait for the message")?;
        ensure!(self.returned == self.sent, "another message came back");
        Ok(())
    }
}
