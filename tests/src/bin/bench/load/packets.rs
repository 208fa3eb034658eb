//! The Control Packets of MQTT 3.1.1 that the clients send and expect, as bytes.

/// "Accepted, no session was there" (section 3.2 of the standard).
pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// Section 3.14.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// `QoS` 0 granted to the subscription with Packet Identifier 1 (section 3.9).
pub const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 0];

/// As long as what a sensor has to say.
const PAYLOAD_BYTES: usize = 64;

/// With a clean session, for a client that is silent for as long as the standard allows. Its name
/// has the number of the load in it: a straggler of the last load with the same name would throw
/// the client out.
pub fn connect(load: usize, client: usize) -> Vec<u8> {
    let name = format!("bench-{load}-{client}");
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0xff, 0xff];
    append_string(&mut body, &name);
    packet(0x10, &body)
}

/// To the topic of this client alone, at `QoS` 0.
pub fn subscribe(client: usize) -> Vec<u8> {
    let mut body = vec![0, 1];
    append_string(&mut body, &topic(client));
    body.push(0);
    packet(0x82, &body)
}

/// A message of this client to itself, at `QoS` 0. The broker sends the same bytes back.
pub fn publish(client: usize) -> Vec<u8> {
    let mut body = Vec::new();
    append_string(&mut body, &topic(client));
    body.resize(body.len() + PAYLOAD_BYTES, b'.');
    packet(0x30, &body)
}

/// Numbers a message, so that it is told apart from the one before.
pub fn number(publish: &mut [u8], number: u64) {
    let place = publish.len() - PAYLOAD_BYTES;
    publish[place..place + 8].copy_from_slice(&number.to_be_bytes());
}

fn topic(client: usize) -> String {
    format!("bench/{client}")
}

fn append_string(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.bytes());
}

/// All of these have a Remaining Length of one byte.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "a short packet");
    [&[first, body.len() as u8], body].concat()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Packet;

    use super::*;

    fn read(bytes: &[u8]) -> Packet {
        Packet::read(&mut BytesMut::from(bytes), 1000).unwrap()
    }

    #[test]
    fn another_implementation_reads_what_the_clients_send() {
        let Packet::Connect(connect) = read(&connect(3, 7)) else { panic!("no CONNECT") };
        assert_eq!((connect.client_id.as_str(), connect.keep_alive), ("bench-3-7", 65_535));
        assert!(connect.clean_session);
        let Packet::Subscribe(subscribe) = read(&subscribe(7)) else { panic!("no SUBSCRIBE") };
        assert_eq!((subscribe.pkid, subscribe.filters[0].path.as_str()), (1, "bench/7"));
        let Packet::Publish(publish) = read(&publish(7)) else { panic!("no PUBLISH") };
        assert_eq!((publish.qos, publish.topic.as_str()), (QoS::AtMostOnce, "bench/7"));
        assert_eq!(publish.payload.len(), PAYLOAD_BYTES);
        assert_eq!(read(&DISCONNECT), Packet::Disconnect);
    }

    #[test]
    fn another_implementation_reads_what_the_clients_expect() {
        assert!(matches!(read(&CONNACK), Packet::ConnAck(_)));
        assert!(matches!(read(&SUBACK), Packet::SubAck(ack) if ack.pkid == 1));
    }

    #[test]
    fn the_number_of_a_message_is_in_its_payload() {
        let mut message = publish(70_000);
        number(&mut message, 0x0102_0304_0506_0708);
        let Packet::Publish(publish) = read(&message) else { panic!("no PUBLISH") };
        assert_eq!(publish.payload[..9], [1, 2, 3, 4, 5, 6, 7, 8, b'.']);
    }
}
