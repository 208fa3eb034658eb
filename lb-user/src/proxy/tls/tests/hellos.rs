//! Reading a `ClientHello`.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{ClientConnection, pki_types::ServerName};

use super::super::hello::{Hello, HelloError, HelloReader, MAX_HELLO_BYTES};
use super::super::*;
use super::pki::{Authority, Client, Subject, loopback, settings};

/// What becomes of these bytes if nothing follows.
fn read(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
    HelloReader::default().feed(bytes)
}

/// What rustls sends first, to a server of this name.
fn first_flight(client: &Client, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(client.config(), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

fn offering() -> Vec<u8> {
    let alpn = vec![b"mqtt".to_vec(), b"x-amzn-mqtt-ca".to_vec()];
    first_flight(&Client { alpn, ..Authority::new().client() }, "Broker.Example.com")
}

/// The same handshake bytes in records of `size` bytes.
fn in_records(flight: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    };
    flight[5..].chunks(size).flat_map(record).collect()
}

#[test]
fn the_name_is_read_as_rustls_reads_it_however_the_bytes_come() {
    let flight = offering();
    let want = Hello { server_name: Some("broker.example.com".into()) };
    for bytes in [flight.clone(), in_records(&flight, 1), in_records(&flight, 100)] {
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Ok(None), "{length}");
        }
        assert_eq!(read(&[&bytes[..], b"what follows"].concat()), Ok(Some(want.clone())));
        let (mut reader, mut found) = (HelloReader::default(), None);
        for byte in &bytes {
            assert_eq!(found, None);
            found = reader.feed(&[*byte]).unwrap();
        }
        assert_eq!(found.as_ref(), Some(&want));
        assert_eq!(reader.into_parts(), (bytes.clone(), vec![]));
        let mut judge = Acceptor::default();
        judge.read_tls(&mut &bytes[..]).unwrap();
        let accepted = judge.accept().map_err(|(error, _)| error).unwrap().unwrap();
        assert_eq!(accepted.client_hello().server_name(), want.server_name.as_deref());
    }
}

#[test]
fn a_client_may_name_no_server() {
    let flight = first_flight(&Authority::new().client(), "127.0.0.1");
    assert_eq!(read(&flight), Ok(Some(Hello::default())));
}

#[test]
fn what_does_not_begin_a_handshake_is_refused_at_once() {
    assert_eq!(read(b"\x10"), Err(HelloError::NotTls), "a CONNECT");
    assert_eq!(read(b"GET /"), Err(HelloError::NotTls));
    assert_eq!(read(b"\x16\x02"), Err(HelloError::NotTls));
    assert_eq!(read(b"\x16\x03\x01\x00\x00"), Err(HelloError::NotTls), "an empty record");
    assert_eq!(read(b"\x16\x03\x01\x40\x01"), Err(HelloError::NotTls), "a record too long");
    assert_eq!(read(b"\x16\x03\x01\x00\x04\x02"), Err(HelloError::NotHello), "a ServerHello");
    assert_eq!(read(b"\x15\x03\x01\x00\x02\x01\x00"), Err(HelloError::NotTls), "an alert");
}

#[test]
fn what_comes_behind_a_hello_is_none_of_it_and_it_ends_with_its_record() {
    let flight = offering();
    let mut reader = HelloReader::default();
    reader.feed(&[&flight[..], b"early data"].concat()).unwrap().unwrap();
    assert_eq!(reader.into_parts(), (flight.clone(), b"early data".to_vec()));
    let longer = (flight.len() as u16 - 5 + 10).to_be_bytes();
    let more = [&[22, 3, 1], &longer[..], &flight[5..]].concat();
    assert_eq!(read(&more), Err(HelloError::Malformed), "of which the rest may never come");
    assert_eq!(read(&[&more[..], &[0; 10]].concat()), Err(HelloError::Malformed));
}

/// A hello with these extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let length = (extensions.len() as u16).to_be_bytes();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &length, extensions].concat();
    let [record, message] = [body.len() + 4, body.len()].map(|bytes| (bytes as u16).to_be_bytes());
    [&[22, 3, 1], &record[..], &[1, 0], &message, &body].concat()
}

#[test]
fn unknown_extensions_are_skipped_and_each_may_be_there_once() {
    let name = [&[0, 0, 0, 14, 0, 12, 0, 0, 9][..], b"a.example"].concat();
    // Values that mean nothing, so that nobody relies on knowing all of them (RFC 8701).
    let grease = [0x0a, 0x0a, 0, 0, 0xfa, 0xfa, 0, 1, 0];
    // Encrypted Client Hello: the name in the clear is the outer one.
    let encrypted = [0xfe, 0x0d, 0, 3, 0, 1, 2];
    let hello = with_extensions(&[&grease[..], &encrypted, &name].concat());
    let want = Hello { server_name: Some("a.example".into()) };
    assert_eq!(read(&hello), Ok(Some(want)));
    let twice = with_extensions(&[&grease[..], &name, &grease[..4]].concat());
    assert_eq!(read(&twice), Err(HelloError::Malformed));
    // As many as fit.
    let many: Vec<u8> =
        (1..4000u16).flat_map(|kind| [(kind >> 8) as u8, kind as u8, 0, 0]).collect();
    assert_eq!(read(&with_extensions(&many)), Ok(Some(Hello::default())));
    for wrong in [&b"a.example."[..], b"", b"a\0b", b"*.example", "\u{e4}.example".as_bytes()] {
        let length = wrong.len() as u8;
        let lengths = [0, 0, 0, length + 5, 0, length + 3, 0, 0, length];
        let hello = with_extensions(&[&lengths[..], wrong].concat());
        assert_eq!(read(&hello), Err(HelloError::Malformed), "{wrong:?}");
    }
}

#[test]
fn a_hello_that_never_ends_is_refused_at_a_bounded_length() {
    let announced = [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &[0; 100]].concat();
    assert_eq!(read(&announced), Err(HelloError::TooLong));
    // The length is all right, and the records are of a byte each.
    let message = [&[1, 0, 0x3f, 0xff][..], &[0; 16_383]].concat();
    let records = in_records(&[&[0; 5], &message[..]].concat(), 1);
    let refused = (0..records.len()).find(|length| read(&records[..*length]).is_err());
    assert_eq!(refused, Some(MAX_HELLO_BYTES));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_refused_at_a_bounded_length_where_tls_ends_here() {
    let authority = Authority::new();
    let subject = Subject { names: &["broker.example"], ..Subject::default() };
    let server = Server::load(&settings(vec![authority.issue("server", &subject)])).unwrap();
    let (mut near, far) = loopback().await;
    let accept = tokio::spawn(TlsAcceptor::from(server.config()).accept(far));
    let mut sent = 0;
    // The message announces 16 MiB, and every record is well-formed.
    let mut record = vec![22, 3, 1, 0x3f, 0x00];
    record.resize(5 + 0x3f00, 0);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    while !accept.is_finished() && near.write_all(&record).await.is_ok() {
        sent += record.len();
        record[5..9].fill(0);
        assert!(sent < 8 << 20, "still listening after {sent} bytes");
        tokio::task::yield_now().await;
    }
    assert!(accept.await.unwrap().is_err());
    let _ = near.read_to_end(&mut Vec::new()).await;
}

proptest! {
    #[test]
    fn a_changed_byte_never_breaks_the_reader(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut flight = offering();
        let at = at.index(flight.len());
        flight[at] = byte;
        let _ = read(&flight[..cut.index(flight.len() + 1)]);
    }

    #[test]
    fn no_bytes_at_all_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let length = bytes.len() as u16;
        let [record, message] = [length + 4, length].map(u16::to_be_bytes);
        let whole = [&[22, 3, 1], &record[..], &[1, 0], &message, &bytes].concat();
        let _ = read(&whole);
    }
}
