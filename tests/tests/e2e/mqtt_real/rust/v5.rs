//! MQTT 5.0 by rumqttc.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Packet, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as Happened, MqttOptions, StateError};
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
        .set_max_packet_size(Some(MAX_PACKET_BYTES));
    let (client, mut connection) = AsyncClient::new(options, QUEUE);
    tokio::spawn(obey(client, commands));
    loop {
        let event = match connection.poll().await {
            Ok(Happened::Incoming(packet)) => received(packet),
            Ok(Happened::Outgoing(outgoing)) => progress.sent(&outgoing),
            Err(ConnectionError::ConnectionRefused(code)) => {
                Some(Event::Refused { code: refusal(code) })
            }
            Err(ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code, ..
            })) => Some(Event::Disconnected { code: Some(reason_code as u8) }),
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
            Command::Publish { topic, qos, payload, property } => {
                let said = property.map(|property| ("said".to_owned(), property));
                let properties = PublishProperties {
                    user_properties: said.into_iter().collect(),
                    ..PublishProperties::default()
                };
                client
                    .publish_with_properties(topic, level(qos), false, payload, properties)
                    .await
                    .unwrap();
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
            _ => None,
        },
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Event::Published),
        Packet::Publish(publish) => Some(Event::Received(message(publish))),
        _ => None,
    }
}

fn message(publish: Publish) -> Message {
    let properties = publish.properties.unwrap_or_default().user_properties;
    Message {
        topic: text(&publish.topic),
        payload: text(&publish.payload),
        qos: publish.qos as u8,
        property: properties.into_iter().find(|(name, _)| name == "said").map(|(_, value)| value),
    }
}

/// The library keeps no numbers; those that the tests ask for.
fn refusal(code: ConnectReturnCode) -> u8 {
    match code {
        ConnectReturnCode::BadUserNamePassword => 0x86,
        ConnectReturnCode::NotAuthorized => 0x87,
        ConnectReturnCode::ServerUnavailable => 0x88,
        other => panic!("refused with {other:?}"),
    }
}

fn level(qos: u8) -> QoS {
    rumqttc::v5::mqttbytes::qos(qos).unwrap()
}
