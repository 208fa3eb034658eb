//! The fuzz target without a fuzzer: the golden conversations as they are, and spoilt by chance.
//!
//! `MQLB_FUZZ_INPUTS=1000000` tries as many, `MQLB_FUZZ_SEED` others. `MQLB_FUZZ_CORPUS` names a
//! directory that the conversations are written to, for a fuzzer to begin with.
#![cfg(feature = "host")]

use std::{env, fs, panic, path::Path};

use lb_ebpf::host::{Random, fuzz};

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn what_must_hold_holds_in_golden_conversations() {
    let corpus = fuzz::corpus();
    for input in &corpus {
        fuzz::run(input);
    }
    if let Some(directory) = env::var_os("MQLB_FUZZ_CORPUS") {
        fs::create_dir_all(&directory).unwrap();
        for (number, input) in corpus.iter().enumerate() {
            fs::write(Path::new(&directory).join(format!("golden-{number}")), input).unwrap();
        }
    }
}

#[test]
fn what_broke_something_once_breaks_nothing_any_more() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    // Without the directory nothing was found yet.
    for entry in fs::read_dir(found).into_iter().flatten() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        fuzz::run(&fs::read(path).unwrap());
    }
}

#[test]
fn what_must_hold_holds_in_spoilt_conversations() {
    let corpus = fuzz::corpus();
    let mut random = Random(number("MQLB_FUZZ_SEED", 0x6d71_6c62));
    for _ in 0..number("MQLB_FUZZ_INPUTS", 20_000) {
        let input = spoilt(&corpus, &mut random);
        if panic::catch_unwind(|| fuzz::run(&input)).is_err() {
            let path = env::temp_dir().join("mqlb-fuzz-input");
            fs::write(&path, &input).unwrap();
            panic!(
                "{} breaks it\nhint: once mended, keep it in lb-ebpf/tests/fuzz under a name that says what it was",
                path.display()
            );
        }
    }
}

/// A conversation, or two one behind the other, with some bytes changed, lost, or repeated.
fn spoilt(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let one = |random: &mut Random| &corpus[random.below(corpus.len() as u64) as usize];
    let mut input = one(random).clone();
    let varied = corpus.len() as u64 * random.below(fuzz::VARIATIONS as u64);
    let number = u16::from_be_bytes([input[0], input[1]]) + varied as u16;
    input[..2].copy_from_slice(&number.to_be_bytes());
    if random.below(2) == 0 {
        input.extend(&one(random)[2..]);
    }
    for _ in 0..random.below(12) {
        let at = random.below(input.len() as u64) as usize;
        let end = (at + 1 + random.below(60) as usize).min(input.len());
        match random.below(8) {
            0..3 => input[at] ^= 1 << random.below(8),
            3 => input[at] = random.next() as u8,
            4 => input[at] = random.pick(&[0, 1, 4, 5, 6, 0x7f, 0x80, 0xff]),
            5 if at > 2 => drop(input.drain(at..end)),
            6 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                // Something that happens between two frames, if it hits one.
                let event: [&[u8]; 4] = [&[5, 3], &[6, 1, 4], &[7, 1, 2, 3], &[7, 2, 1, 1]];
                let event = random.pick(&event);
                input.splice(at..at, event.iter().copied());
            }
        }
    }
    input
}
