//! The life of one client: connect, exchange messages, and say what went wrong.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::{Connection, Reason, Session};
use super::ledger::{Stamp, packet_identifier};
use super::state::{Fleet, Phase};
use super::{Reconnect, Traffic};
use crate::broker::NAME_TOPIC;

/// Messages under way at most: beyond it a client at a fixed rate waits.
const WINDOW: usize = 1000;

/// How long a goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Lives until the fleet is told to end, or the connection ends and there is to be no other.
pub async fn live(fleet: Arc<Fleet>, index: usize) {
    loop {
        let again = one_session(&fleet, index).await;
        let Reconnect::After(pause) = fleet.plan.reconnect else { return };
        if !again {
            return;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = closing(&fleet) => return,
        }
    }
}

/// Returns when the fleet is told to end.
async fn closing(fleet: &Fleet) {
    // An error means that the fleet is gone, which is the same.
    let _ = fleet.phase().wait_for(|phase| *phase == Phase::Closing).await;
}

/// True if the client did not end it: it may try again.
async fn one_session(fleet: &Fleet, index: usize) -> bool {
    let opened = tokio::select! {
        opened = open(fleet, index) => opened,
        () = closing(fleet) => return false,
    };
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(reason) => {
            fleet.failed(index, reason);
            return true;
        }
    };
    let ended = tokio::select! {
        ended = exchange(fleet, index, &mut connection) => ended,
        // It may be stuck, sending to somebody who does not read.
        () = async { closing(fleet).await; sleep(CLOSE_LIMIT).await } => Ok(()),
    };
    match ended {
        Ok(()) => {
            // Who does not hear it in time is left without.
            let _ = timeout(CLOSE_LIMIT, connection.close()).await;
            fleet.left(index);
            false
        }
        Err(reason) => {
            fleet.disconnected(index, connection.local(), reason);
            true
        }
    }
}

async fn open(fleet: &Fleet, index: usize) -> Result<Connection, Reason> {
    let plan = &fleet.plan;
    // Released as soon as the connection is open or has failed. The semaphore is never closed.
    let _turn = fleet.connecting.acquire().await;
    let started = fleet.now();
    let sources = &plan.sources;
    let source = (!sources.is_empty()).then(|| sources[index % sources.len()]);
    let client_id = fleet.client_id(index);
    let mut subscriptions = vec![NAME_TOPIC.to_owned()];
    if plan.traffic != Traffic::Idle {
        subscriptions.push(fleet.topic(index));
    }
    let session = Session {
        client_id: &client_id,
        keep_alive_s: plan.keep_alive_s,
        clean: plan.clean,
        subscriptions: &subscriptions,
        qos: plan.qos,
    };
    let connection = Connection::open(source, plan.target, session, plan.connect_limit).await?;
    fleet.connected(index, connection.local(), started);
    Ok(connection)
}

/// Until the fleet ends (`Ok`) or the connection does.
async fn exchange(fleet: &Fleet, index: usize, connection: &mut Connection) -> Result<(), Reason> {
    let mut phase = fleet.phase();
    let topic = fleet.topic(index);
    let unacknowledged = fleet.ledger(index).end_session();
    for stamp in unacknowledged {
        send(fleet, connection, &topic, stamp, true).await?;
    }
    let keep_alive = Duration::from_secs(fleet.plan.keep_alive_s.into());
    let mut next_ping = Instant::now() + keep_alive / 2;
    let mut awaiting_ping = false;
    // Clients that started together don't speak together.
    let mut next_publish = Instant::now() + fleet.first_delay(index);
    loop {
        let publishing = *phase.borrow() == Phase::Running && may_publish(fleet, index);
        tokio::select! {
            packet = connection.read() => match packet? {
                Packet::Publish(publish) => {
                    if let Some(pause) = received(fleet, index, connection, &topic, &publish).await? {
                        next_publish = next_publish.max(Instant::now() + pause);
                    }
                }
                Packet::PubAck(ack) => fleet.ledger(index).acknowledge(ack.pkid),
                Packet::PingResp => awaiting_ping = false,
                other => return Err(Reason::Protocol(format!("unexpected {other:?}"))),
            },
            () = sleep_until(next_publish), if publishing => {
                if let Some(stamp) = fleet.publish(index) {
                    send(fleet, connection, &topic, stamp, false).await?;
                }
                if let Traffic::Every(pause) = fleet.plan.traffic {
                    next_publish += pause;
                }
            }
            () = sleep_until(next_ping) => {
                if awaiting_ping {
                    return Err(Reason::NoPingResponse);
                }
                connection.write(&Packet::PingReq).await?;
                awaiting_ping = true;
                next_ping += keep_alive / 2;
            }
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Closing {
                    return Ok(());
                }
            }
        }
    }
}

fn may_publish(fleet: &Fleet, index: usize) -> bool {
    match fleet.plan.traffic {
        Traffic::Idle => false,
        Traffic::ClosedLoop { .. } => fleet.ledger(index).outstanding() == 0,
        Traffic::Every(_) => fleet.ledger(index).outstanding() < WINDOW,
    }
}

async fn send(
    fleet: &Fleet,
    connection: &mut Connection,
    topic: &str,
    stamp: Stamp,
    again: bool,
) -> Result<(), Reason> {
    let payload = stamp.encode(fleet.plan.payload_bytes);
    connection
        .publish(topic, fleet.plan.qos, packet_identifier(stamp.sequence), again, payload)
        .await
}

/// Books a message; in a closed loop, returns how long to wait before the next.
async fn received(
    fleet: &Fleet,
    index: usize,
    connection: &mut Connection,
    topic: &str,
    publish: &Publish,
) -> Result<Option<Duration>, Reason> {
    if publish.qos == QoS::AtLeastOnce {
        connection.write(&Packet::PubAck(PubAck::new(publish.pkid))).await?;
    }
    if publish.topic == NAME_TOPIC {
        fleet.reached(index, String::from_utf8_lossy(&publish.payload).into_owned());
        return Ok(None);
    }
    match Stamp::decode(&publish.payload) {
        Some(stamp) if publish.topic == topic => {
            if fleet.ledger(index).receive(stamp.sequence) {
                fleet.took(fleet.now().saturating_sub(stamp.sent));
            }
        }
        _ => return Err(Reason::Protocol(format!("a message of another client: {publish:?}"))),
    }
    match fleet.plan.traffic {
        Traffic::ClosedLoop { pause } => Ok(Some(pause)),
        _ => Ok(None),
    }
}
