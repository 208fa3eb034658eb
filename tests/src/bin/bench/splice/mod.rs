//! Copying bytes from socket to socket through a buffer, beside moving them through a pipe with
//! `splice(2)`: what a relay of plaintext connections could do instead.
//!
//! On loopback. One message is under way at a time, as with most MQTT clients; ways and sizes take turns,
//! and the lowest of the rounds counts: whatever disturbs the machine only adds to it.

mod relay;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::document::Block;
use super::table::{Table, figure};
use relay::Way;

/// Bytes of a message: what a sensor says, and what an update of a program comes in.
const SIZES: [usize; 2] = [100, 64 * 1024];

/// What a message takes.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// CPU time of the relay's thread.
    cpu: Duration,
    /// Until it has arrived.
    elapsed: Duration,
}

pub fn run(quick: bool, print: &dyn Fn(&str)) -> Result<Block> {
    let (rounds, length) = if quick { (2, 200) } else { (7, 700) };
    let length = Duration::from_millis(length);
    let mut lowest: [[Option<Cost>; 2]; SIZES.len()] = Default::default();
    for round in 1..=rounds {
        for (bytes, of_size) in SIZES.into_iter().zip(&mut lowest) {
            for (way, low) in Way::ALL.into_iter().zip(of_size) {
                let cost = measure(way, bytes, length)
                    .with_context(|| format!("{way:?} messages of {bytes} bytes"))?;
                let (cpu, elapsed) = cost.micros();
                print(&format!(
                    "round {round} of {rounds}: {bytes} bytes, {way:?}: {} CPU µs, {} µs",
                    figure(cpu),
                    figure(elapsed)
                ));
                *low = Some(low.map_or(cost, |low| low.lower(cost)));
            }
        }
    }
    let measured = lowest.map(|of_size| of_size.map(|cost| cost.expect("there is a round")));
    Ok(Block { name: "splice", text: write(&measured) })
}

fn write(measured: &[[Cost; 2]; SIZES.len()]) -> String {
    let head = ["a message of", "copied: CPU µs", "spliced: CPU µs", "spliced / copied"];
    let more = ["copied: µs until there", "spliced: µs until there"];
    let mut table = Table::new([head[0], head[1], head[2], head[3], more[0], more[1]]);
    for (bytes, costs) in SIZES.into_iter().zip(measured) {
        let [copied, spliced] = costs.map(Cost::micros);
        let figures = [copied.0, spliced.0, spliced.0 / copied.0, copied.1, spliced.1];
        let name = format!("{} bytes", figure(bytes as f64));
        table.row([name].into_iter().chain(figures.map(figure)));
    }
    table.to_string()
}

/// Sends messages through a relay, each when the one before has arrived.
fn measure(way: Way, bytes: usize, length: Duration) -> Result<Cost> {
    let (mut sender, source) = connection()?;
    let (target, mut receiver) = connection()?;
    let relay = std::thread::spawn(move || relay::run(way, &source, &target));
    let (sent, mut returned) = (vec![b'.'; bytes], vec![0; bytes]);
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < length {
        sender.write_all(&sent).context("send a message")?;
        receiver.read_exact(&mut returned).context("wait for the message")?;
        count += 1;
    }
    let elapsed = began.elapsed();
    // The relay hears of it, and ends.
    drop(sender);
    let cpu = relay.join().map_err(|_| anyhow!("the relay panicked"))??;
    Ok(Cost { cpu: cpu / count, elapsed: elapsed / count })
}

/// Two ends of a connection.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    let one = TcpStream::connect(listener.local_addr()?).context("connect")?;
    let (other, _) = listener.accept().context("accept")?;
    for end in [&one, &other] {
        end.set_nodelay(true)?;
    }
    Ok((one, other))
}

impl Cost {
    fn micros(self) -> (f64, f64) {
        (self.cpu.as_secs_f64() * 1e6, self.elapsed.as_secs_f64() * 1e6)
    }

    fn lower(self, other: Self) -> Self {
        Self { cpu: self.cpu.min(other.cpu), elapsed: self.elapsed.min(other.elapsed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(cpu: u64, elapsed: u64) -> Cost {
        Cost { cpu: Duration::from_micros(cpu), elapsed: Duration::from_micros(elapsed) }
    }

    #[test]
    fn the_lowest_counts_and_ratios_are_to_copying() {
        let low = cost(10, 30).lower(cost(20, 25));
        assert_eq!((low.cpu.as_micros(), low.elapsed.as_micros()), (10, 25));
        let text = write(&[[low, cost(15, 30)], [cost(40, 80), cost(20, 70)]]);
        let cells = |row: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(row)).unwrap();
            line.split('|').skip(2).map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("| 100 bytes")[..5], ["10.0", "15.0", "1.50", "25.0", "30.0"]);
        assert_eq!(cells("| 65,536 bytes")[..5], ["40.0", "20.0", "0.500", "80.0", "70.0"]);
    }

    #[test]
    fn messages_arrive_either_way_whatever_their_size() {
        for way in Way::ALL {
            for bytes in SIZES {
                let cost = measure(way, bytes, Duration::from_millis(20)).unwrap();
                assert!(cost.elapsed > Duration::ZERO && cost.cpu <= cost.elapsed, "{cost:?}");
            }
        }
    }
}
