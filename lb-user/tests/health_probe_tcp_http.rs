//! The TCP and HTTP probes against servers that behave well and badly.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod fake;

use std::time::Duration;

use fake::{http, nowhere, probed, probed_briefly, server};
use lb_user::config::model::{HttpCheck, Probe, StatusRange};
use lb_user::health::probe::{Phase, ProbeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// Reads a whole request, sends `answer`, closes.
async fn answering(answer: &'static [u8]) -> std::net::SocketAddr {
    server(move |mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(answer).await;
    })
    .await
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_port_that_accepts_is_healthy_and_sees_no_reset() {
    let (seen, mut ends) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(stream.read(&mut [0; 1]).await.unwrap()).unwrap();
        }
    })
    .await;
    probed(Probe::Tcp, address).await.unwrap();
    assert_eq!(ends.recv().await, Some(0));
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let error = probed_briefly(Probe::Tcp, nowhere().await).await;
    assert!(matches!(error, ProbeError::Refused), "{error}");
}

#[tokio::test]
async fn a_host_that_answers_no_syn_is_given_up_in_time() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: once the backlog is full the kernel drops further SYNs.
    let fill = (0..4).map(|_| tokio::spawn(TcpStream::connect(address)));
    let _fill: Vec<_> = fill.collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = probed_briefly(Probe::Tcp, address).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::Connect, .. }), "{error}");
}

#[tokio::test]
async fn the_expected_status_is_healthy() {
    let address = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    probed(Probe::Http(http("/status")), address).await.unwrap();
    let address = answering(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    probed(Probe::Http(http("/status")), address).await.unwrap();
    let many = HttpCheck {
        status: vec![StatusRange { first: 200, last: 299 }, StatusRange { first: 429, last: 429 }],
        ..http("/")
    };
    let address = answering(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n").await;
    probed(Probe::Http(many), address).await.unwrap();
}

#[tokio::test]
async fn another_status_is_told() {
    let address = answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let error = probed(Probe::Http(http("/status")), address).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP status 503");
    // A redirect is not followed: it leads away from the broker that is asked.
    let address =
        answering(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
    let error = probed(Probe::Http(http("/status")), address).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP status 302");
}

#[tokio::test]
async fn the_request_names_path_host_and_who_asks() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(request(&mut stream).await).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    probed(Probe::Http(http("/status?node=1")), address).await.unwrap();
    let text = requests.recv().await.unwrap();
    assert!(text.starts_with("GET /status?node=1 HTTP/1.1\r\n"), "{text}");
    assert!(text.contains(&format!("host: {address}\r\n")), "{text}");
    assert!(text.contains("user-agent: mqlb/"), "{text}");
    let named = HttpCheck { host: Some("broker.example".into()), ..http("/") };
    probed(Probe::Http(named), address).await.unwrap();
    assert!(requests.recv().await.unwrap().contains("host: broker.example\r\n"));
}

#[tokio::test]
async fn an_endless_body_does_not_hide_a_good_status() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        while stream.write_all(&answer).await.is_ok() {
            answer = b"more".to_vec();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let latency = probed(Probe::Http(http("/")), address).await.unwrap();
    assert!(latency < Duration::from_millis(200), "{latency:?}");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_told_how() {
    let address = server(|mut stream| async move {
        request(&mut stream).await;
    })
    .await;
    let error = probed_briefly(Probe::Http(http("/")), address).await;
    assert!(matches!(error, ProbeError::Closed { phase: Phase::HttpResponse }), "{error}");
    let address = server(|mut stream| async move {
        request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = probed_briefly(Probe::Http(http("/")), address).await;
    assert!(matches!(error, ProbeError::Reset { phase: Phase::HttpResponse }), "{error}");
    let error = probed_briefly(Probe::Http(http("/")), answering(b"\x20\x02\x00\x00").await).await;
    assert!(matches!(error, ProbeError::Http(_)), "{error}");
    let silent = server(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = probed_briefly(Probe::Http(http("/")), silent).await;
    assert!(matches!(error, ProbeError::Timeout { phase: Phase::HttpResponse, .. }), "{error}");
}
