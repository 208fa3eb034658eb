//! Whether a port accepts connections.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Deadline, ProbeError, connect};

/// Connects and closes again, with a FIN rather than a reset: brokers log resets.
pub(super) async fn probe(address: SocketAddr, deadline: Deadline) -> Result<Duration, ProbeError> {
    let stream = connect(address, deadline).await?;
    let latency = deadline.elapsed();
    drop(stream);
    Ok(latency)
}
