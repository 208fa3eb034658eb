//! Frames with something wrong.

use lb_ebpf::host::Random;

use super::{IP, be16, header_len, is_v6, mend_header, put16};

/// Spoils a frame in one of many ways.
pub fn spoil(frame: &mut Vec<u8>, random: &mut Random) {
    let v6 = is_v6(frame);
    let (len_at, transport) = (IP + if v6 { 4 } else { 2 }, IP + header_len(v6));
    let kind = random.below(10);
    match kind {
        0 => frame.truncate(1 + random.below(frame.len() as u64) as usize),
        1 => frame.extend(vec![0x77; 1 + random.below(60) as usize]),
        2 if frame.len() > transport + 20 => {
            let off = random.pick(&[1, 2, 7, 8, 9, 20, 0xffff, 0xfff8, 0xffec, 0x8000]);
            let len = be16(frame, len_at).wrapping_add(off);
            put16(frame, len_at, len);
        }
        3 if frame.len() > transport + 20 => frame[transport + 12] = random.next() as u8,
        4 if frame.len() > transport + 20 => {
            // The checksum of TCP, in the one or the other zero, or any.
            let any = random.next() as u16;
            let sum = random.pick(&[0, 0xffff, any]);
            put16(frame, transport + 16, sum);
        }
        5 => frame[IP] = random.next() as u8,
        6..8 => flip(frame, transport, random),
        _ => {
            for _ in 0..=random.below(3) {
                flip(frame, 0, random);
            }
        }
    }
    // What the checksum gives away is not looked at further.
    if frame.len() >= IP + 20 && random.below(4) > 0 {
        mend_header(frame);
    }
}

fn flip(frame: &mut [u8], from: usize, random: &mut Random) {
    let from = if from < frame.len() { from } else { 0 };
    let at = from + random.below((frame.len() - from) as u64) as usize;
    frame[at] ^= 1 << random.below(8);
}
