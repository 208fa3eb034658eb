//! MQTT 3.1.1 by rumqttc.

use rumqttc::{
    AsyncClient, ConnectionError, Event as Happened, MqttOptions, Packet, QoS, SubscribeReasonCode,
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{MAX_PACKET_BYTES, Progress, QUEUE, text, transport};
use crate::mqtt_real::events::{Command, Event, Message, Settings};

pub async fn run(
    settings: &Settings,
    commands: UnboundedReceiver<Command>,
    mut progress: Progress,
) {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_credentials(&settings.username, &settings.password)
        .set_transport(transport(settings))
        .set_max_packet_size(MAX_PACKET_BYTES as usize, MAX_PACKET_BYTES as usize);
    let (client, mut connection) = AsyncClient::new(options, QUEUE);
    tokio::spawn(obey(client, commands));
    loop {
        let event = match connection.poll().await {
            Ok(Happened::Incoming(packet)) => received(packet),
            Ok(Happened::Outgoing(outgoing)) => progress.sent(&outgoing),
            Err(ConnectionError::ConnectionRefused(code)) => {
                Some(Event::Refused { code: code as u8 })
            }
            Err(error) => Some(progress.error(&error)),
        };
        if !progress.tell(event).await {
            return;
        }
    }
}

async fn obey(client: AsyncClient, mut commands: UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Subscribe { topic, qos } => {
                client.subscribe(topic, level(qos)).await.unwrap();
            }
            Command::Publish { topic, qos, payload, .. } => {
                client.publish(topic, level(qos), false, payload).await.unwrap();
            }
            Command::Leave => break,
        }
    }
    // The connection may have ended before.
    let _ = client.disconnect().await;
}

fn received(packet: Packet) -> Option<Event> {
    match packet {
        Packet::ConnAck(_) => Some(Event::Connected),
        Packet::SubAck(suback) => match suback.return_codes[0] {
            SubscribeReasonCode::Success(qos) => Some(Event::Subscribed { qos: qos as u8 }),
            SubscribeReasonCode::Failure => None,
        },
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Event::Published),
        Packet::Publish(publish) => Some(Event::Received(Message {
            topic: publish.topic,
            payload: text(&publish.payload),
            qos: publish.qos as u8,
            property: None,
        })),
        _ => None,
    }
}

fn level(qos: u8) -> QoS {
    rumqttc::qos(qos).unwrap()
}
