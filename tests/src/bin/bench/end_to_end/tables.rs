//! The figures of all rounds as tables.

use super::Round;
use super::turn::{RATE, Turn};
use crate::contender::Contender;
use crate::statistics::{median, range};
use crate::table::{Table, figure, verdict};

/// Of `direct`'s throughput.
const SHARE_AIM: f64 = 0.95;
/// Of `HAProxy`'s own CPU time.
const CPU_AIM: f64 = 0.1;
const BYTES_AIM: f64 = 160.0;

const DIRECT: usize = 0;
const MQLB: usize = 1;
const HAPROXY: usize = 2;

/// `bytes` is memory per idle connection, in the order of [`Contender::ALL`].
pub fn write(rounds: &[Round], bytes: &[Option<f64>]) -> String {
    let throughput = [
        throughput("connections per s", rounds, |turn| turn.connections_per_s),
        throughput("QoS 0 messages per s", rounds, |turn| turn.messages_per_s),
    ];
    let [connections, messages] = throughput;
    [connections, messages, fixed_rate(rounds), memory(bytes), aims(rounds, bytes).to_string()]
        .join("\n")
}

fn throughput(what: &str, rounds: &[Round], of: impl Fn(&Turn) -> f64) -> String {
    let mut table = Table::new([what, "median", "from", "to", "of direct", "from", "to"]);
    for (index, contender) in Contender::ALL.into_iter().enumerate() {
        let samples: Vec<f64> = rounds.iter().map(|round| of(&round[index])).collect();
        let shares = shares(rounds, index, &of);
        let figures = spread(&samples).into_iter().chain(spread(&shares));
        table.row([contender.name().to_owned()].into_iter().chain(figures));
    }
    table.to_string()
}

fn fixed_rate(rounds: &[Round]) -> String {
    let what = format!("at {} messages per s", figure(RATE.into()));
    let head = [what.as_str(), "p50 µs", "p99 µs", "own CPU s per million messages", "from", "to"];
    let mut table = Table::new(head);
    for (index, contender) in Contender::ALL.into_iter().enumerate() {
        let of = |part: fn(&Turn) -> f64| {
            median(&rounds.iter().map(|round| part(&round[index])).collect::<Vec<_>>())
        };
        let own = if index == DIRECT {
            ["–", "–", "–"].map(str::to_owned)
        } else {
            spread(&own_cpu(rounds, index))
        };
        let latency = [figure(of(|turn| turn.p50_us)), figure(of(|turn| turn.p99_us))];
        let name = contender.name().to_owned();
        table.row([name].into_iter().chain(latency).chain(own));
    }
    table.to_string()
}

fn memory(bytes: &[Option<f64>]) -> String {
    let mut table = Table::new(["memory", "bytes per idle connection"]);
    for (contender, bytes) in Contender::ALL.into_iter().zip(bytes) {
        let text = bytes.map_or_else(|| "–".to_owned(), figure);
        table.row([contender.name().to_owned(), text]);
    }
    table.to_string()
}

fn aims(rounds: &[Round], bytes: &[Option<f64>]) -> Table {
    let mut table = Table::new(["mqlb", "measured", "aim"]);
    let mut share = |what: &str, of: fn(&Turn) -> f64| {
        let measured = median(&shares(rounds, MQLB, &of));
        let aim = verdict("at least 0.95", measured >= SHARE_AIM);
        table.row([format!("{what}, of direct"), figure(measured), aim]);
    };
    share("connections per s", |turn| turn.connections_per_s);
    share("messages per s", |turn| turn.messages_per_s);
    let [own, haproxy] = [MQLB, HAPROXY].map(|index| median(&own_cpu(rounds, index)));
    // Either may come out below nothing, so that their ratio alone would not tell.
    let aim = verdict("at most 0.1", own <= haproxy * CPU_AIM);
    table.row(["own CPU time, of HAProxy's".to_owned(), figure(own / haproxy), aim]);
    if let Some(bytes) = bytes[MQLB] {
        let aim = verdict("at most 160", bytes <= BYTES_AIM);
        table.row(["bytes per idle connection".to_owned(), figure(bytes), aim]);
    }
    table
}

/// Of `direct` in the same round.
fn shares(rounds: &[Round], index: usize, of: &impl Fn(&Turn) -> f64) -> Vec<f64> {
    rounds.iter().map(|round| of(&round[index]) / of(&round[DIRECT])).collect()
}

/// Less that of `direct` in the same round.
fn own_cpu(rounds: &[Round], index: usize) -> Vec<f64> {
    let own = |round: &Round| round[index].busy_s_per_million - round[DIRECT].busy_s_per_million;
    rounds.iter().map(own).collect()
}

fn spread(samples: &[f64]) -> [String; 3] {
    let (low, high) = range(samples);
    [figure(median(samples)), figure(low), figure(high)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(direct: f64, others: f64) -> Round {
        let turn = |speed: f64| Turn {
            connections_per_s: 100.0 * speed,
            messages_per_s: 1000.0 * speed,
            p50_us: 200.0,
            p99_us: 300.0,
            busy_s_per_million: 100.0 + 10.0 * (1.0 - speed),
            own: None,
        };
        [turn(direct), turn(others), turn(others / 2.0), turn(others), turn(others)]
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in the second round.
        let rounds = [round(1.0, 0.9), round(0.5, 0.45)];
        for share in shares(&rounds, MQLB, &|turn: &Turn| turn.messages_per_s) {
            assert!((share - 0.9).abs() < 1e-9);
        }
        let own = own_cpu(&rounds, MQLB);
        assert!((own[0] - 1.0).abs() < 1e-9 && (own[1] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn every_aim_is_judged() {
        let bytes = [None, Some(170.0), None, None, None];
        let text = aims(&[round(1.0, 0.96)], &bytes).to_string();
        assert_eq!(text.matches(": hit").count(), 3, "{text}");
        assert_eq!(text.matches(": missed").count(), 1, "{text}");
    }
}
