//! One reading of a broker's load, from servers that behave well and badly.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::net::SocketAddr;
use std::time::Duration;

use fake::{CONNACK, http, mqtt, mqtt5, nowhere, packet, server};
use lb_user::config::model::{
    BasicAuth, HttpCheck, LoadSettings, LoadSource, LoadValue, MqttCheck, Password, Secret,
    SendProxyProtocol,
};
use lb_user::health::probe::load::read;
use lb_user::load::json::Pointer;
use lb_user::load::prometheus::Selector;
use lb_user::load::source::Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const TOPIC: &str = "$SYS/load";

fn by_pointer(pointer: &str) -> LoadValue {
    LoadValue::JsonPointer(Pointer::parse(pointer).unwrap())
}

fn by_http(request: HttpCheck, value: LoadValue) -> LoadSource {
    LoadSource::Http { request, credentials: None, value }
}

fn by_topic(client: MqttCheck) -> LoadSource {
    LoadSource::Sys { client, topic: TOPIC.into() }
}

/// Reads once what the backend `b1` at this address tells.
async fn reading(source: LoadSource, at: SocketAddr, timeout: Duration) -> Result<f64, String> {
    let interval = Duration::from_secs(10);
    let settings =
        LoadSettings { source, port: Some(at.port()), interval, timeout, max_age: interval * 3 };
    let source = Source::load(&settings, "mqtt", SendProxyProtocol::V1).unwrap();
    let serves = SocketAddr::new(at.ip(), 1883);
    read(&source.target("b1", serves).unwrap()).await.map_err(|error| error.to_string())
}

async fn told(source: LoadSource, address: SocketAddr) -> Result<f64, String> {
    reading(source, address, Duration::from_secs(5)).await
}

async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

/// Tells of each request, and answers it.
async fn http_server(answer: Vec<u8>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (seen, requests) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            seen.send(request(&mut stream).await).unwrap();
            let _ = stream.write_all(&answer).await;
        }
    })
    .await;
    (address, requests)
}

fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Answers each packet of a client with the next of `answers`, and tells what came.
async fn broker(
    answers: &'static [&'static [u8]],
) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (seen, packets) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            for answer in answers {
                let _ = seen.send(packet(&mut stream).await);
                stream.write_all(answer).await.unwrap();
            }
            let _ = seen.send(packet(&mut stream).await);
            let _ = stream.read(&mut [0; 1]).await;
        }
    })
    .await;
    (address, packets)
}

#[tokio::test]
async fn a_number_in_json_is_asked_for_with_credentials_and_the_name_of_the_backend() {
    let (address, mut requests) = http_server(answer(r#"{"nodes": [{"load": 2.5}]}"#)).await;
    let source = LoadSource::Http {
        request: http("/nodes/{backend}"),
        credentials: Some(BasicAuth {
            username: "Aladdin".into(),
            password: Password::Inline(Secret::new("open sesame".into())),
        }),
        value: by_pointer("/nodes/0/load"),
    };
    assert_eq!(told(source, address).await, Ok(2.5));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /nodes/b1 HTTP/1.1\r\n"), "{request}");
    // The example of RFC 7617, section 2.
    assert!(request.contains("authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{request}");
    assert!(request.contains("accept: application/json\r\n"), "{request}");
}

#[tokio::test]
async fn a_metric_is_read_from_the_text_format() {
    let text =
        "# TYPE cpu gauge\ncpu{mode=\"user\"} 10\ncpu{mode=\"idle\"} 85\ncpu{mode=\"sys\"} 5\n";
    let metric =
        |text: &str| by_http(http("/metrics"), LoadValue::Metric(Selector::parse(text).unwrap()));
    let (address, mut requests) = http_server(answer(text)).await;
    assert_eq!(told(metric("cpu{mode=\"user\"}"), address).await, Ok(10.0));
    let request = requests.recv().await.unwrap();
    assert!(request.contains("accept: text/plain\r\n"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
    let missing = told(metric("run_queue"), address).await;
    assert_eq!(missing, Err("the answer has no metric run_queue".into()));
}

#[tokio::test]
async fn what_is_no_load_says_why() {
    let load = || by_http(http("/"), by_pointer("/load"));
    let refused = told(load(), nowhere().await).await;
    assert_eq!(refused, Err("connection refused".into()));
    let unauthorized = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec();
    assert_eq!(
        told(load(), http_server(unauthorized).await.0).await,
        Err("HTTP status 401".into())
    );
    let nothing = told(load(), http_server(answer("{}")).await.0).await;
    assert_eq!(nothing, Err("the answer has nothing at \"/load\"".into()));
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"load\": 1".to_vec();
    let cut = told(load(), http_server(cut).await.0).await.unwrap_err();
    assert!(cut.starts_with("closed by the broker"), "{cut}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_in_bytes_and_in_time() {
    let load = || by_http(http("/"), by_pointer("/load"));
    let long = format!("{{\"load\": 1{}}}", " ".repeat(1 << 20));
    let metric = by_http(http("/"), LoadValue::Metric(Selector::parse("load").unwrap()));
    // What JSON takes when it is read is far more than its bytes.
    for (source, limit) in [(load(), 1 << 18), (metric, 1 << 20)] {
        let error = told(source, http_server(answer(&long)).await.0).await.unwrap_err();
        assert_eq!(error, format!("the answer by HTTP is longer than {limit} bytes"));
    }
    let slow = server(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let started = std::time::Instant::now();
    let error = reading(load(), slow, Duration::from_millis(200)).await.unwrap_err();
    assert!(error.starts_with("timed out waiting for the HTTP response"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_retained_message_of_a_topic_is_read_by_a_client_that_takes_leave() {
    // What clients get unasked comes first, then the message, and only then the SUBACK.
    const MESSAGES: &[u8] = b"\x30\x06\0\x03a/b7\x31\x0f\0\x09$SYS/load12.5\x90\x03\0\x01\0";
    let (address, mut packets) = broker(&[CONNACK, MESSAGES]).await;
    assert_eq!(told(by_topic(mqtt()), address).await, Ok(12.5));
    assert_eq!(packets.recv().await.unwrap()[0], 0x10, "CONNECT");
    assert_eq!(packets.recv().await.unwrap(), b"\x82\x0e\0\x01\0\x09$SYS/load\0");
    assert_eq!(packets.recv().await.unwrap(), [0xe0, 0], "DISCONNECT");
}

#[tokio::test]
async fn a_broker_of_mqtt_5_is_asked_in_its_version() {
    let answers: &[&[u8]] =
        &[b"\x20\x03\0\0\0", b"\x90\x04\0\x01\0\0\x31\x15\0\x09$SYS/load\x05\x02\0\0\0\x0a12.5"];
    let (address, mut packets) = broker(answers).await;
    assert_eq!(told(by_topic(mqtt5()), address).await, Ok(12.5));
    packets.recv().await.unwrap();
    assert_eq!(packets.recv().await.unwrap(), b"\x82\x0f\0\x01\0\0\x09$SYS/load\0");
}

#[tokio::test]
async fn a_topic_that_is_refused_silent_or_no_number_says_so() {
    let (refusing, _packets) = broker(&[CONNACK, b"\x90\x03\0\x01\x80"]).await;
    assert_eq!(told(by_topic(mqtt()), refusing).await, Err("SUBACK code 0x80, failure".into()));
    let (silent, _packets) = broker(&[CONNACK, b"\x90\x03\0\x01\0"]).await;
    let error = reading(by_topic(mqtt()), silent, Duration::from_millis(200)).await.unwrap_err();
    assert!(error.starts_with("timed out waiting for a message of the topic"), "{error}");
    let (text, _packets) = broker(&[CONNACK, b"\x31\x10\0\x09$SYS/load1 day"]).await;
    assert_eq!(told(by_topic(mqtt()), text).await, Err("\"1 day\" is no number".into()));
    let (closed, _packets) = broker(&[b"\x20\x02\0\x05"]).await;
    let error = told(by_topic(mqtt()), closed).await.unwrap_err();
    assert_eq!(error, "CONNACK code 0x05, not authorized");
}

#[tokio::test]
async fn the_header_of_the_proxy_protocol_is_sent_at_the_brokers_own_port_only() {
    let (seen, mut first) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            let _ = seen.send(stream.read_u8().await.unwrap());
        }
    })
    .await;
    let elsewhere = SocketAddr::new(address.ip(), 1);
    let own = Some(address.port());
    for (serves, port, expected) in
        [(address, None, b'P'), (address, own, b'P'), (elsewhere, own, 0x10)]
    {
        let settings = LoadSettings {
            source: by_topic(mqtt()),
            port,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(200),
            max_age: Duration::from_secs(3),
        };
        let source = Source::load(&settings, "mqtt", SendProxyProtocol::V1).unwrap();
        assert!(read(&source.target("b1", serves).unwrap()).await.is_err());
        assert_eq!(first.recv().await, Some(expected));
    }
}
