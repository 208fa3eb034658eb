//! How things are at one moment, and how that looks.

use std::time::Duration;

use super::line::{Line, Look};

/// How things are.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub brokers: Vec<BrokerView>,
    /// The controller's process, while it runs.
    pub controller: Option<u32>,
    /// Packets per second that the data plane forwards; only the controller can read it.
    pub packets_per_s: Option<u64>,
    /// Time from publishing to receiving within the last second: half of the messages, 99 % of them.
    pub latency: Option<(Duration, Duration)>,
    /// Clients that there are, and those of them that are connected.
    pub clients: (usize, usize),
    pub delivered: u64,
    pub lost: u64,
}

/// A broker.
#[derive(Debug, Clone, Default)]
pub struct BrokerView {
    pub name: String,
    /// As mqlb says; `None` while nobody can say.
    pub state: Option<String>,
    /// Its share of the new connections, 0 to 1.
    pub share: Option<f64>,
    /// Its connections, as mqlb counts them.
    pub connections: Option<u64>,
    /// Its clients, as these say themselves.
    pub clients: usize,
    /// Messages that its clients received in the last second.
    pub messages_per_s: u64,
}

const STATE: usize = 12;
const SHARE: usize = 34;
const CONNECTIONS: usize = 48;
const MESSAGES: usize = 59;
const CLIENTS: usize = 69;
const BAR: usize = 71;
/// Where the second half of the lines below the table begins.
const HALF: usize = 40;

impl View {
    /// The table and what belongs under it.
    pub fn lines(&self, width: usize) -> Vec<Line> {
        let head = Line::new()
            .and(Look::Dim, "broker")
            .to(STATE)
            .and(Look::Dim, "state")
            .right(SHARE, Look::Dim, "of new ones")
            .right(CONNECTIONS, Look::Dim, "connections")
            .right(MESSAGES, Look::Dim, "messages/s")
            .right(CLIENTS, Look::Dim, "clients");
        let most = self.brokers.iter().map(|broker| broker.clients).max().unwrap_or_default();
        let room = width.saturating_sub(BAR + 1).min(30);
        let mut lines = vec![head];
        lines.extend(self.brokers.iter().map(|broker| broker.line(most, room)));
        lines.push(self.total());
        lines.push(Line::new());
        lines.push(self.controller_line());
        lines.push(self.message_line());
        lines
    }

    fn total(&self) -> Line {
        let connections: Option<u64> = self.brokers.iter().map(|broker| broker.connections).sum();
        let messages: u64 = self.brokers.iter().map(|broker| broker.messages_per_s).sum();
        let (all, connected) = self.clients;
        let line = Line::new()
            .and(Look::Dim, "total")
            .right(CONNECTIONS, Look::Dim, or_dash(connections))
            .right(MESSAGES, Look::Dim, grouped(messages))
            .right(CLIENTS, Look::Dim, connected.to_string());
        match all.saturating_sub(connected) {
            0 => line,
            missing => line.and(Look::Warning, format!("  {missing} connecting")),
        }
    }

    fn controller_line(&self) -> Line {
        let line = Line::new().and(Look::Dim, "controller").to(STATE);
        let line = match self.controller {
            Some(process) => {
                line.and(Look::Good, "running").and(Look::Dim, format!(" ({process})"))
            }
            None => line.and(Look::Bad, "dead"),
        };
        let line = line.to(HALF).and(Look::Dim, "data plane  ");
        match self.packets_per_s {
            Some(packets) => line
                .and(Look::Good, "forwarding")
                .and(Look::Dim, format!(" {} packets/s", grouped(packets))),
            None if self.brokers.iter().any(|broker| broker.messages_per_s > 0) => {
                line.and(Look::Good, "forwarding")
            }
            None => line.and(Look::Dim, "–"),
        }
    }

    fn message_line(&self) -> Line {
        let line = Line::new()
            .and(Look::Dim, "messages")
            .to(STATE)
            .and(Look::Plain, grouped(self.delivered))
            .and(Look::Dim, " delivered");
        let line = match self.lost {
            0 => line.and(Look::Dim, ", 0 lost"),
            lost => line.and(Look::Warning, format!(", {lost} lost")),
        };
        // Never one word with what is before it, however many messages there were.
        let line = line.and(Look::Plain, " ").to(HALF).and(Look::Dim, "latency     ");
        let Some((half, most)) = self.latency else { return line.and(Look::Dim, "–") };
        line.and(Look::Plain, format!("{} median, {} p99", milliseconds(half), milliseconds(most)))
    }

    /// The same, for a log.
    pub fn in_one_line(&self) -> String {
        let brokers = self.brokers.iter().map(|broker| {
            let state = broker.state.as_deref().unwrap_or("?");
            format!(
                "{} {state} {} clients {}/s",
                broker.name, broker.clients, broker.messages_per_s
            )
        });
        let brokers: Vec<String> = brokers.collect();
        let latency = self.latency.map_or_else(String::new, |(half, most)| {
            format!("; {} median, {} p99", milliseconds(half), milliseconds(most))
        });
        format!("{}{latency}", brokers.join(", "))
    }
}

impl BrokerView {
    fn line(&self, most: usize, room: usize) -> Line {
        let look = match self.state.as_deref() {
            Some("active") => Look::Good,
            Some("down") => Look::Bad,
            Some(_) => Look::Warning,
            None => Look::Dim,
        };
        let state = self.state.as_deref().unwrap_or("–").replace('_', " ");
        let share =
            self.share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
        Line::new()
            .and(Look::Bold, &self.name)
            .to(STATE)
            .and(look, state)
            .right(SHARE, Look::Plain, share)
            .right(CONNECTIONS, Look::Plain, or_dash(self.connections))
            .right(MESSAGES, Look::Plain, grouped(self.messages_per_s))
            .right(CLIENTS, Look::Bold, self.clients.to_string())
            .to(BAR)
            .and(look, "█".repeat((self.clients * room).checked_div(most).unwrap_or_default()))
    }
}

fn or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "–".to_owned(), grouped)
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1000, 1_234_567].map(grouped).map(|s| s).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn the_fullest_broker_fills_the_bar_and_nobody_divides_by_zero() {
        let broker = BrokerView { name: "broker-1".into(), clients: 7, ..BrokerView::default() };
        let line = broker.line(7, 10).render(200, false);
        assert!(line.ends_with(&"█".repeat(10)), "{line}");
        BrokerView::default().line(0, 10);
    }

    #[test]
    fn the_table_fits_a_small_terminal() {
        let view = View {
            brokers: vec![BrokerView::default(); 4],
            controller: Some(4_194_303),
            packets_per_s: Some(12_345),
            latency: Some((Duration::from_micros(1_234), Duration::from_micros(12_345))),
            delivered: 1_234_567,
            ..View::default()
        };
        for line in view.lines(80) {
            assert!(line.width() <= 80, "{}", line.render(200, false));
        }
        let messages = view.message_line().render(200, false);
        assert!(messages.contains(", 0 lost latency"), "{messages}");
        let lossy = View { lost: 99_999, ..view };
        let messages = lossy.message_line().render(200, false);
        assert!(messages.contains(", 99999 lost latency"), "{messages}");
    }
}
