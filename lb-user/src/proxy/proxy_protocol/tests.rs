use proptest::prelude::*;

use super::*;

/// The example of section 2.1 of the specification.
const EXAMPLE: &[u8] = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";

/// A header of version 2 written by hand: TCP over IPv4, with ALPN, NOOP and SSL.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x30\
    \xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x22\xb3\
    \x01\x00\x04mqtt\
    \x04\x00\x02\xff\xff\
    \x20\x00\x15\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x03abc";

fn ends(source: &str, destination: &str) -> Addresses {
    Addresses::new(source.parse().unwrap(), destination.parse().unwrap())
}

fn complete(bytes: &[u8]) -> (Header, usize) {
    match decode(bytes).unwrap() {
        Decoded::Complete { header, length } => (header, length),
        incomplete @ Decoded::Incomplete { .. } => panic!("{incomplete:?}"),
    }
}

fn addresses(bytes: &[u8]) -> Option<Addresses> {
    complete(bytes).0.addresses
}

#[test]
fn the_lines_of_the_specification_are_read() {
    let (header, length) = complete(&[EXAMPLE, b"GET / HTTP/1.1\r\n"].concat());
    assert_eq!(header.addresses, Some(ends("192.168.0.1:56324", "192.168.0.11:443")));
    assert_eq!(length, EXAMPLE.len());
    let longest = ends("255.255.255.255:65535", "255.255.255.255:65535");
    let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    assert_eq!((addresses(line), line.len()), (Some(longest), 56));
    let all_ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {all_ones} {all_ones} 65535 65535\r\n");
    let end = format!("[{all_ones}]:65535");
    assert_eq!((addresses(line.as_bytes()), line.len()), (Some(ends(&end, &end)), 104));
    assert_eq!(complete(b"PROXY UNKNOWN\r\n"), (Header::default(), 15));
    let line = format!("PROXY UNKNOWN {all_ones} {all_ones} 65535 65535\r\n");
    assert_eq!(complete(line.as_bytes()), (Header::default(), 107));
}

#[test]
fn a_binary_header_is_read_with_its_tlvs_and_noop_is_skipped() {
    let (header, length) = complete(&[BINARY, b"\x10"].concat());
    assert_eq!(length, BINARY.len());
    assert_eq!(header.addresses, Some(ends("192.0.2.1:56324", "198.51.100.2:8883")));
    let ssl = Ssl {
        version: Some("TLSv1.3".into()),
        common_name: Some("abc".into()),
        certificate: true,
        verified: true,
    };
    let tlvs = Tlvs { alpn: Some(b"mqtt".to_vec()), ssl: Some(ssl), ..Tlvs::default() };
    assert_eq!(header.tlvs, tlvs);
}

#[test]
fn local_and_what_is_not_tcp_leave_the_addresses_of_the_connection() {
    let header = |command, family, body: &[u8]| {
        let mut bytes = v2::SIGNATURE.to_vec();
        bytes.extend([command, family, 0, body.len() as u8]);
        bytes.extend(body);
        bytes
    };
    let nothing = |bytes: &[u8]| assert_eq!(complete(bytes), (Header::default(), bytes.len()));
    nothing(&encode_v2_local());
    nothing(&header(0x20, 0x11, &[]));
    nothing(&header(0x20, 0x00, b"what is here counts for nothing"));
    nothing(&header(0x21, 0x00, &[]));
    nothing(&header(0x21, 0x12, &[1; 12]));
    nothing(&header(0x21, 0x31, &[1; 216]));
}

#[test]
fn every_truncation_is_incomplete_and_asks_for_no_byte_too_many() {
    let unknown = b"PROXY UNKNOWN anything\r\n";
    let lines: [&[u8]; 4] = [EXAMPLE, unknown, BINARY, &encode_v2_local()];
    for whole in lines {
        for length in 0..whole.len() {
            let decoded = decode(&whole[..length]).unwrap();
            let Decoded::Incomplete { missing } = decoded else { panic!("{length}: {decoded:?}") };
            assert!((1..=whole.len() - length).contains(&missing), "{length}: {missing}");
        }
        assert_eq!(complete(whole).1, whole.len());
    }
}

fn refused(bytes: &[u8]) -> ProxyError {
    decode(bytes).unwrap_err()
}

#[test]
fn a_line_that_is_not_exactly_of_the_protocol_is_refused() {
    for (line, error) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", ProxyError::LineEnd),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx", ProxyError::LineEnd),
        ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Protocol),
        ("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Protocol),
        ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Protocol),
        ("PROXY UNKNOWNS\r\n", ProxyError::Protocol),
        ("PROXY TCP4\r\n", ProxyError::Fields),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", ProxyError::Fields),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", ProxyError::Fields),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", ProxyError::Fields),
        ("PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", ProxyError::Address),
        ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Address),
        ("PROXY TCP6 ::1%1 ::1 1 2\r\n", ProxyError::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", ProxyError::Port),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n", ProxyError::Port),
        ("PROXYTCP4 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Signature),
        ("PING", ProxyError::Signature),
        ("proxy TCP4", ProxyError::Signature),
    ] {
        assert_eq!(refused(line.as_bytes()), error, "{line}");
    }
    assert_eq!(
        refused(&[b"PROXY UNKNOWN".to_vec(), vec![b' '; 94]].concat()),
        ProxyError::LineTooLong
    );
    let late = [b"PROXY UNKNOWN".to_vec(), vec![b' '; 93], b"\r\n".to_vec()].concat();
    assert_eq!((refused(&late), late.len()), (ProxyError::LineTooLong, 108));
    let nul = b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n";
    assert_eq!(refused(nul), ProxyError::Address);
    let latin = b"PROXY TCP4 192.0.2.\xe9 192.0.2.2 1 2\r\n";
    assert_eq!(refused(latin), ProxyError::Fields);
}

/// [`BINARY`] with another byte at `at`.
fn changed(at: usize, byte: u8) -> ProxyError {
    let mut bytes = BINARY.to_vec();
    bytes[at] = byte;
    refused(&bytes)
}

#[test]
fn a_binary_header_that_is_malformed_is_refused() {
    assert_eq!(changed(4, 1), ProxyError::Signature);
    assert_eq!(changed(12, 0x11), ProxyError::Command(0x11));
    assert_eq!(changed(12, 0x22), ProxyError::Command(0x22));
    assert_eq!(changed(13, 0x41), ProxyError::Family(0x41));
    assert_eq!(changed(13, 0x13), ProxyError::Family(0x13));
    assert_eq!(changed(14, 0xff), ProxyError::TooLong(16 + 0xff30));
    assert_eq!(changed(15, 11), ProxyError::TooShort(27));
    assert_eq!(changed(15, 0x2f), ProxyError::Tlv(TlvError::Truncated));
    assert_eq!(changed(30, 0xff), ProxyError::Tlv(TlvError::Truncated));
    let noop = 16 + 12 + 7;
    assert_eq!(changed(noop, 0x01), ProxyError::Tlv(TlvError::Twice(0x01)));
    assert_eq!(changed(noop, 0x02), ProxyError::Tlv(TlvError::Text(0x02)));
    assert_eq!(changed(noop, 0x03), ProxyError::Tlv(TlvError::Length(0x03)));
    assert_eq!(changed(noop, 0x20), ProxyError::Tlv(TlvError::Length(0x20)));
    let inner = BINARY.len() - 4;
    assert_eq!(changed(inner, 4), ProxyError::Tlv(TlvError::Truncated), "inside SSL");
    let long_id = [&v2::SIGNATURE[..], &[0x21, 0, 0, 132, 0x05, 0, 129], &[0; 129]].concat();
    assert_eq!(refused(&long_id), ProxyError::Tlv(TlvError::Length(0x05)));
}

#[test]
fn wrong_bytes_are_refused_as_soon_as_they_are_there() {
    assert_eq!(refused(b"PX"), ProxyError::Signature);
    assert_eq!(refused(b"\x10"), ProxyError::Signature, "a CONNECT");
    assert_eq!(refused(b"\x16\x03\x01"), ProxyError::Signature, "a ClientHello");
    assert_eq!(
        refused(&BINARY[..12].iter().copied().chain([0x31]).collect::<Vec<u8>>()),
        ProxyError::Command(0x31)
    );
}

/// The header with a checksum, as some proxies in front send it (section 2.2.3).
fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let length = (header.len() - 16 + 7) as u16;
    header[14..16].copy_from_slice(&length.to_be_bytes());
    header.extend([0x03, 0, 4, 0, 0, 0, 0]);
    let checksum = crc32c::crc32c(&header).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&checksum);
    header
}

#[test]
fn any_changed_byte_breaks_the_checksum_or_the_header() {
    let header = complete(BINARY).0;
    let good = with_checksum(encode_v2(&header).unwrap());
    assert_eq!(complete(&good).0, header);
    for at in 16..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        // Where the type of the checksum itself is changed, nothing demands one.
        let own_type = good.len() - 7;
        assert!(at == own_type || decode(&bytes).is_err(), "byte {at}");
    }
    // RFC 3720, appendix B.4: CRC32C of 32 zeros.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn only_peers_that_are_trusted_begin_with_a_header() {
    let trusted: Vec<Prefix> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let expected = |peer: &str| is_expected(&trusted, peer.parse().unwrap());
    assert!(expected("10.1.2.3") && expected("::ffff:10.1.2.3") && expected("fd00::1"));
    assert!(!expected("192.0.2.1") && !expected("2001:db8::1"));
    assert!(!is_expected(&[], "10.1.2.3".parse().unwrap()));
}

#[test]
fn both_families_are_told_as_ipv6_without_dots() {
    let mixed = ends("192.0.2.1:1000", "[2001:db8::1]:1883");
    assert_eq!(encode_v1(&mixed), b"PROXY TCP6 0:0:0:0:0:ffff:c000:201 2001:db8::1 1000 1883\r\n");
    let mapped = ends("[::ffff:192.0.2.1]:1000", "[::ffff:192.0.2.2]:1883");
    assert_eq!(encode_v1(&mapped), b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n");
}

#[test]
fn a_header_longer_than_any_receiver_takes_is_not_written() {
    let tlvs = Tlvs { authority: Some("a".repeat(70_000)), ..Tlvs::default() };
    let error = encode_v2(&Header { addresses: None, tlvs }).unwrap_err();
    assert_eq!(error, TooLong(16 + 3 + 70_000));
}

fn any_addresses() -> impl Strategy<Value = Addresses> {
    let v4 = any::<(u32, u32, u16, u16)>().prop_map(|(a, b, p, q)| {
        Addresses::new((IpAddr::V4(a.into()), p).into(), (IpAddr::V4(b.into()), q).into())
    });
    let v6 = any::<(u128, u128, u16, u16)>().prop_map(|(a, b, p, q)| {
        Addresses::new((IpAddr::V6(a.into()), p).into(), (IpAddr::V6(b.into()), q).into())
    });
    prop_oneof![v4, v6]
}

fn any_tlvs() -> impl Strategy<Value = Tlvs> {
    let ssl = (
        proptest::option::of(".{0,12}"),
        proptest::option::of(".{0,64}"),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(version, common_name, certificate, good)| Ssl {
            version,
            common_name,
            certificate,
            verified: certificate && good,
        });
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=128));
    let text = proptest::option::of(".{0,64}");
    (bytes(), text, proptest::option::of(ssl)).prop_map(|(alpn, authority, ssl)| Tlvs {
        alpn,
        authority,
        ssl,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_whatever_follows(
        addresses in proptest::option::of(any_addresses()),
        tlvs in any_tlvs(),
        checksum: bool,
        behind: [u8; 4],
    ) {
        let header = Header { addresses, tlvs };
        let bytes = encode_v2(&header).unwrap();
        let bytes = if checksum { with_checksum(bytes) } else { bytes };
        prop_assert_eq!(complete(&[&bytes[..], &behind].concat()), (header, bytes.len()));
        if let Some(addresses) = addresses {
            let line = encode_v1(&addresses);
            let read = complete(&[&line[..], &behind].concat());
            prop_assert_eq!((read.0.addresses, read.1), (Some(addresses), line.len()));
        }
    }

    #[test]
    fn another_implementation_reads_the_same(addresses in any_addresses(), tlvs in any_tlvs()) {
        let bytes = encode_v2(&Header { addresses: Some(addresses), tlvs: tlvs.clone() }).unwrap();
        let judge = ppp::v2::Header::try_from(&bytes[..]).unwrap();
        let (source, destination) = match judge.addresses {
            ppp::v2::Addresses::IPv4(v4) => (
                SocketAddr::from((v4.source_address, v4.source_port)),
                SocketAddr::from((v4.destination_address, v4.destination_port)),
            ),
            ppp::v2::Addresses::IPv6(v6) => (
                SocketAddr::from((v6.source_address, v6.source_port)),
                SocketAddr::from((v6.destination_address, v6.destination_port)),
            ),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!((source, destination), (addresses.source(), addresses.destination()));
        let values: Vec<(u8, Vec<u8>)> = judge
            .tlvs()
            .map(|tlv| tlv.map(|tlv| (tlv.kind, tlv.value.into_owned())).unwrap())
            .collect();
        let value = |kind| values.iter().find(|one| one.0 == kind).map(|one| one.1.clone());
        prop_assert_eq!(value(0x01), tlvs.alpn);
        prop_assert_eq!(value(0x02), tlvs.authority.map(String::into_bytes));
        prop_assert_eq!(value(0x20).is_some(), tlvs.ssl.is_some());
        let line = encode_v1(&addresses);
        let text = std::str::from_utf8(&line).unwrap();
        let judge = ppp::v1::Header::try_from(text).unwrap();
        prop_assert_eq!(judge.header.len(), line.len());
        prop_assert_eq!(judge.protocol(), if addresses.source().is_ipv4() { "TCP4" } else { "TCP6" });
    }

    #[test]
    fn no_bytes_at_all_break_it(start in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 3] = [b"", b"PROXY TCP4 ", &v2::SIGNATURE];
        let _ = decode(&[starts[start], &bytes].concat());
    }
}

#[test]
fn what_the_judge_gets_wrong_is_the_reason_for_own_code() {
    let mut local = encode_v2_local();
    local[13] = 0x11;
    assert!(decode(&local).is_ok() && ppp::v2::Header::try_from(&local[..]).is_err());
    let plus = "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n";
    assert!(decode(plus.as_bytes()).is_err() && ppp::v1::Header::try_from(plus).is_ok());
    let mut wrong = with_checksum(encode_v2(&complete(BINARY).0).unwrap());
    *wrong.last_mut().unwrap() ^= 1;
    assert!(decode(&wrong).is_err() && ppp::v2::Header::try_from(&wrong[..]).is_ok());
}
