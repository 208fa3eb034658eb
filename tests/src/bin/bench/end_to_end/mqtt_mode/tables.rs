//! The figures of all rounds as tables.

use super::super::memory::Grown;
use super::super::turn::{Own, RATE, Turn};
use super::{CONTENDERS, Each, KINDS};
use crate::statistics::{median, range};
use crate::table::{Table, figure, verdict};

/// Messages per own CPU second, of `HAProxy`'s.
const CPU_AIM: f64 = 1.3;

const DIRECT: usize = 0;
const MQLB: usize = 1;
const HAPROXY: usize = 2;

/// All rounds of one kind of candidates or the other, in the order of [`CONTENDERS`].
#[derive(Debug, Clone, Copy)]
struct Rounds<'a> {
    all: &'a [Each<Turn>],
    /// Where the kind begins.
    first: usize,
}

/// `memory` is of an idle connection.
pub fn write(names: &Each<String>, rounds: &[Each<Turn>], memory: &Each<Option<Grown>>) -> String {
    let throughput = |what, of: fn(&Turn) -> f64| throughput(what, names, rounds, of);
    [
        throughput("connections per s", |turn| turn.connections_per_s),
        throughput("QoS 0 messages per s", |turn| turn.messages_per_s),
        cpu(names, rounds),
        fixed_rate(names, rounds),
        resident(names, memory),
        aims(rounds, memory),
    ]
    .map(|table| table.to_string())
    .join("\n")
}

fn throughput(
    what: &str,
    names: &Each<String>,
    rounds: &[Each<Turn>],
    of: fn(&Turn) -> f64,
) -> Table {
    let head = [what, "median", "from", "to", "of direct", "of HAProxy", "from", "to"];
    let mut table = Table::new(head);
    for (row, name) in names.iter().enumerate() {
        let (kind, index) = Rounds::of_row(rounds, row);
        let [share, ..] = spread(&kind.ratios(index, DIRECT, of));
        let cells = spread(&kind.samples(index, of)).into_iter().chain([share]);
        let cells = cells.chain(spread(&kind.ratios(index, HAPROXY, of)));
        table.row([name.clone()].into_iter().chain(cells));
    }
    table
}

fn cpu(names: &Each<String>, rounds: &[Each<Turn>]) -> Table {
    let mut table = Table::new([
        "per own CPU s",
        "messages",
        "from",
        "to",
        "of HAProxy",
        "at the fixed rate",
        "of HAProxy ",
        "connections",
        " of HAProxy",
    ]);
    let of = |part: fn(&Own) -> f64| move |turn: &Turn| turn.own.as_ref().map_or(f64::NAN, part);
    for (row, name) in names.iter().enumerate() {
        let (kind, index) = Rounds::of_row(rounds, row);
        if index == DIRECT {
            continue;
        }
        let both = |part: fn(&Own) -> f64| {
            let ratio = median(&kind.ratios(index, HAPROXY, of(part)));
            [figure(median(&kind.samples(index, of(part)))), figure(ratio)]
        };
        let messages = |own: &Own| own.messages;
        let ratio = median(&kind.ratios(index, HAPROXY, of(messages)));
        let cells = spread(&kind.samples(index, of(messages))).into_iter().chain([figure(ratio)]);
        let cells = cells.chain(both(|own| own.fixed_messages)).chain(both(|own| own.connections));
        table.row([name.clone()].into_iter().chain(cells));
    }
    table
}

fn fixed_rate(names: &Each<String>, rounds: &[Each<Turn>]) -> Table {
    let what = format!("at {} messages per s", figure(RATE.into()));
    let head = [
        what.as_str(),
        "p50 µs",
        "added",
        "p99 µs",
        "added ",
        "of HAProxy",
        "CPU s per million, beyond direct",
    ];
    let mut table = Table::new(head);
    for (row, name) in names.iter().enumerate() {
        let (kind, index) = Rounds::of_row(rounds, row);
        let plain = |of: fn(&Turn) -> f64| figure(median(&kind.samples(index, of)));
        let added = |of: fn(&Turn) -> f64| match index {
            DIRECT => "–".to_owned(),
            _ => figure(median(&kind.added(index, of))),
        };
        let p99 = |turn: &Turn| turn.p99_us;
        table.row([
            name.clone(),
            plain(|turn| turn.p50_us),
            added(|turn| turn.p50_us),
            plain(p99),
            added(p99),
            figure(median(&kind.ratios(index, HAPROXY, p99))),
            added(|turn| turn.busy_s_per_million),
        ]);
    }
    table
}

fn resident(names: &Each<String>, memory: &Each<Option<Grown>>) -> Table {
    let head = ["bytes per idle connection", "resident", "of HAProxy", "kernel", "together"];
    let mut table = Table::new(head);
    for (row, (name, grown)) in names.iter().zip(memory).enumerate() {
        let haproxy = memory[row / CONTENDERS.len() * CONTENDERS.len() + HAPROXY];
        let cells = match (grown, haproxy) {
            (Some(grown), Some(haproxy)) => {
                let ratio = grown.resident / haproxy.resident;
                [grown.resident, ratio, grown.kernel, grown.total()].map(figure)
            }
            _ => ["–", "–", "–", "–"].map(str::to_owned),
        };
        table.row([name.clone()].into_iter().chain(cells));
    }
    table
}

fn aims(rounds: &[Each<Turn>], memory: &Each<Option<Grown>>) -> Table {
    let mut table = Table::new(["mqlb, of HAProxy", "measured", "aim"]);
    for kind in 0..KINDS {
        let first = kind * CONTENDERS.len();
        let suffix = if kind == 0 { "" } else { ", TLS" };
        let rounds = Rounds { all: rounds, first };
        let own = |turn: &Turn| turn.own.map_or(f64::NAN, |own| own.messages);
        let measured = median(&rounds.ratios(MQLB, HAPROXY, own));
        let aim = verdict("at least 1.3", measured >= CPU_AIM);
        table.row([format!("messages per own CPU s{suffix}"), figure(measured), aim]);
        let measured = median(&rounds.ratios(MQLB, HAPROXY, |turn| turn.p99_us));
        let aim = verdict("at most 1", measured <= 1.0);
        table.row([format!("p99{suffix}"), figure(measured), aim]);
        if let (Some(mqlb), Some(haproxy)) = (memory[first + MQLB], memory[first + HAPROXY]) {
            let parts = [
                ("resident bytes per idle connection", mqlb.resident / haproxy.resident),
                ("with the kernel's", mqlb.total() / haproxy.total()),
            ];
            for (what, measured) in parts {
                let aim = verdict("at most 1", measured <= 1.0);
                table.row([format!("{what}{suffix}"), figure(measured), aim]);
            }
        }
    }
    table
}

impl<'a> Rounds<'a> {
    /// The rounds of its kind, and its place among the contenders.
    const fn of_row(all: &'a [Each<Turn>], row: usize) -> (Self, usize) {
        let index = row % CONTENDERS.len();
        (Self { all, first: row - index }, index)
    }

    fn samples(self, index: usize, of: impl Fn(&Turn) -> f64) -> Vec<f64> {
        self.all.iter().map(|round| of(&round[self.first + index])).collect()
    }

    /// One of the other, in the same round.
    fn ratios(self, one: usize, other: usize, of: impl Fn(&Turn) -> f64) -> Vec<f64> {
        let pairs = self.samples(one, &of).into_iter().zip(self.samples(other, &of));
        pairs.map(|(one, other)| one / other).collect()
    }

    /// More than `direct` in the same round.
    fn added(self, index: usize, of: impl Fn(&Turn) -> f64) -> Vec<f64> {
        let pairs = self.samples(index, &of).into_iter().zip(self.samples(DIRECT, &of));
        pairs.map(|(one, direct)| one - direct).collect()
    }
}

fn spread(samples: &[f64]) -> [String; 3] {
    let (low, high) = range(samples);
    [median(samples), low, high].map(figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `speed` is that of the machine.
    fn round(speed: f64, mqlb: f64) -> Each<Turn> {
        let turn = |contender: usize, tls: f64| {
            let faster = if contender == MQLB { mqlb } else { 1.0 };
            let own = |messages| Own { connections: 10.0, messages, fixed_messages: 5.0 };
            Turn {
                connections_per_s: 100.0 * speed * faster,
                messages_per_s: 1000.0 * speed * faster / tls,
                p50_us: 100.0,
                p99_us: 200.0 / faster + if contender == DIRECT { 0.0 } else { 50.0 },
                busy_s_per_million: 10.0,
                own: (contender != DIRECT).then(|| own(1000.0 * speed * faster / tls)),
            }
        };
        std::array::from_fn(|row| {
            let tls = if row < CONTENDERS.len() { 1.0 } else { 2.0 };
            turn(row % CONTENDERS.len(), tls)
        })
    }

    fn memory(mqlb: f64) -> Each<Option<Grown>> {
        std::array::from_fn(|row| match row % CONTENDERS.len() {
            DIRECT => None,
            MQLB => Some(Grown { resident: mqlb, kernel: 7000.0 }),
            _ => Some(Grown { resident: 3000.0, kernel: 7000.0 }),
        })
    }

    fn same(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_a_kind() {
        // The machine was half as fast in the second round.
        let rounds = [round(1.0, 1.5), round(0.5, 1.5)];
        for first in [0, CONTENDERS.len()] {
            let kind = Rounds { all: &rounds, first };
            let ratios = kind.ratios(MQLB, HAPROXY, |turn| turn.messages_per_s);
            assert!(ratios.into_iter().all(|ratio| same(ratio, 1.5)));
            let added = kind.added(HAPROXY, |turn| turn.p99_us);
            assert!(added.into_iter().all(|added| same(added, 50.0)));
        }
        let (kind, index) = Rounds::of_row(&rounds, CONTENDERS.len() + HAPROXY);
        assert_eq!((kind.first, index), (CONTENDERS.len(), HAPROXY));
        assert!(same(kind.samples(index, |turn| turn.messages_per_s)[1], 250.0));
    }

    #[test]
    fn every_aim_is_judged_for_both_kinds() {
        let judged = |mqlb, bytes| aims(&[round(1.0, mqlb)], &memory(bytes)).to_string();
        let good = judged(1.4, 2999.0);
        assert_eq!((good.matches(": hit").count(), good.matches(": missed").count()), (8, 0));
        let bad = judged(0.9, 3001.0);
        assert_eq!((bad.matches(": hit").count(), bad.matches(": missed").count()), (0, 8));
        assert!(judged(1.29, 1.0).contains("at least 1.3: missed"));
    }

    #[test]
    fn every_candidate_has_its_row() {
        let names: Each<String> = std::array::from_fn(|row| format!("candidate {row}"));
        let text = write(&names, &[round(1.0, 1.0)], &memory(1000.0));
        for name in &names {
            // `direct` has no processes, so that it is not in one of the five tables.
            let expected = if name.ends_with(['0', '4']) { 4 } else { 5 };
            assert_eq!(text.matches(name.as_str()).count(), expected, "{text}");
        }
        assert!(!text.contains("NaN"), "{text}");
    }
}
