//! What clients and brokers say.

use lb_ebpf::host::Random;

/// What a client may begin with.
pub fn of_client(random: &mut Random) -> Vec<u8> {
    let [high, low] = (random.next() as u16).to_be_bytes();
    let mut data = match random.below(10) {
        0..3 => [b"\x10\x10\0\x04MQTT\x04\x02", &[high, low][..], b"\0\x04dev1"].concat(),
        3 => [b"\x10\x12\0\x06MQIsdp\x03\x02", &[high, low][..], b"\0\x04dev1"].concat(),
        4 => [b"\x10\x91\0\0\x04MQTT\x05\x02", &[high, low][..], &[0; 130]].concat(),
        5 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        6 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        7 => {
            [&b"\x10\xff\xff\xff"[..], &[0x7f, 0xff][random.below(2) as usize..], &[4; 9]].concat()
        }
        8 => vec![random.next() as u8; 1 + random.below(40) as usize],
        _ => Vec::new(),
    };
    cut(&mut data, random);
    data
}

/// What a broker may answer.
pub fn of_broker(random: &mut Random) -> Vec<u8> {
    let code = random.pick(&[0, 0, 0, 3, 5, 0x88, 0x97, 0x87]);
    let mut data = match random.below(8) {
        0..2 => vec![0x20, 2, 0, code],
        2..4 => connack(code, &properties(random)),
        4 => vec![random.next() as u8; random.below(30) as usize],
        5 => b"\x30\x04\0\x01ax".to_vec(),
        _ => Vec::new(),
    };
    cut(&mut data, random);
    data
}

fn cut(data: &mut Vec<u8>, random: &mut Random) {
    match random.below(8) {
        0 if !data.is_empty() => data.truncate(random.below(data.len() as u64) as usize),
        1 if !data.is_empty() => {
            let at = random.below(data.len() as u64) as usize;
            data[at] ^= 1 << random.below(8);
        }
        2 => data.extend([0xc0, 0]),
        _ => {}
    }
}

fn connack(code: u8, properties: &[u8]) -> Vec<u8> {
    let length = properties.len() as u8;
    [&[0x20, length + 3, 0, code, length], properties].concat()
}

fn properties(random: &mut Random) -> Vec<u8> {
    let all: [&[u8]; 8] = [
        b"\x11\0\0\0\x05",
        b"\x24\x01",
        b"\x12\0\x03abc",
        b"\x26\0\x01k\0\x02vv",
        b"\x22\0\x0a",
        b"\x13\0\x14",
        b"\x13\0\0",
        b"\x29\x01",
    ];
    let count = random.below(6) as usize;
    (0..count).flat_map(|_| random.pick(&all)).copied().collect()
}
