//! The acts of the show, and what is expected of each.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::fleet::{Disconnect, Report};

use super::findings::Findings;
use super::stage::Stage;
use super::view::{View, grouped};
use super::world::{DETECTION, SERVICE, World};

const FRAME: Duration = Duration::from_millis(250);
const CLIENTS: u32 = 300;

/// Who lost a broker is to be with another one this long after that one was known to be down.
const RETURN: Duration = Duration::from_secs(2);

/// Plays all acts.
pub fn play(world: &mut World, stage: &mut Stage) -> Result<Findings> {
    let mut play = Play { world, stage, findings: Findings::default() };
    play.connect()?;
    play.add()?;
    play.drain()?;
    play.kill_broker();
    play.kill_controller()?;
    play.end()?;
    Ok(play.findings)
}

struct Play<'a> {
    world: &'a mut World,
    stage: &'a mut Stage,
    findings: Findings,
}

impl Play<'_> {
    fn connect(&mut self) -> Result<()> {
        let act = "300 clients";
        self.stage.act("300 MQTT clients connect, publish and receive", "");
        self.world.connect(CLIENTS)?;
        let view = self.watch(Duration::from_secs(5));
        let counts: Vec<String> = view.brokers.iter().map(|b| b.clients.to_string()).collect();
        let fair = view.brokers.iter().all(|broker| (60..=140).contains(&broker.clients));
        self.found(
            act,
            fair,
            format!("connected, spread as the ring says: {}", counts.join(" + ")),
        );
        self.nobody_lost(act, &[]);
        Ok(())
    }

    fn add(&mut self) -> Result<()> {
        let act = "a broker joins";
        let before = self.disconnects();
        let (name, address) = self.world.start_broker()?;
        self.command("A fourth broker joins", &format!("backend add {SERVICE}/{name} {address}"))?;
        self.watch(Duration::from_secs(2));
        self.stage.note("60 more clients connect");
        self.world.connect(60)?;
        let view = self.watch(Duration::from_secs(4));
        let arrived = clients(&view, &name);
        let text = format!("{arrived} of 60 new clients got {name}, nobody else moved");
        self.found(act, arrived > 0, text);
        self.nobody_lost(act, &before);
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let act = "a broker is drained";
        let before = self.disconnects();
        let had = clients(&self.world.view(), "broker-2");
        self.command("broker-2 is drained", &format!("backend drain {SERVICE}/broker-2"))?;
        self.stage.note("40 more clients connect");
        self.world.connect(40)?;
        let view = self.watch(Duration::from_secs(5));
        let has = clients(&view, "broker-2");
        let text = format!("broker-2 kept its {had} clients and got none of the 40 new ones");
        self.found(
            act,
            has == had,
            if has == had { text } else { format!("broker-2: {had} clients -> {has}") },
        );
        self.nobody_lost(act, &before);
        Ok(())
    }

    fn kill_broker(&mut self) {
        let act = "a broker dies";
        let before = self.disconnects();
        let had = clients(&self.world.view(), "broker-1");
        let broker = self.world.brokers.first_mut().and_then(Option::take);
        let pid = broker.as_ref().map_or(0, |broker| broker.process().pid());
        self.stage.act("broker-1 is killed", &format!("kill -9 {pid}"));
        // Dropped, it is killed.
        drop(broker);
        let began = Instant::now();
        let limit = DETECTION + RETURN + Duration::from_secs(1);
        while began.elapsed() < limit && !self.everybody_is_back(&before, had) {
            self.watch(FRAME);
        }
        self.watch(Duration::from_secs(4).saturating_sub(began.elapsed()));
        let gone = self.gone_since(&before);
        let (its, others) = split(&gone, "broker-1");
        let text = format!("its {had} clients were disconnected, and nobody else");
        let good = its.len() == had && others.is_empty();
        let otherwise = format!(
            "{} of its {had} clients were disconnected, and {} others",
            its.len(),
            others.len()
        );
        self.found(act, good, if good { text } else { otherwise });
        let mut back: Vec<Duration> = its.iter().filter_map(|one| one.back_after).collect();
        back.sort_unstable();
        let (Some(half), Some(last)) = (back.get(back.len() / 2), back.last()) else {
            self.found(act, false, "none of its clients came back".into());
            return;
        };
        let good = back.len() == its.len() && *last <= DETECTION + RETURN;
        let text = format!(
            "{} of them are back: half after {}, the last after {}",
            back.len(),
            seconds(*half),
            seconds(*last)
        );
        self.found(act, good, text);
    }

    fn kill_controller(&mut self) -> Result<()> {
        let act = "the controller dies";
        let before = self.disconnects();
        let pid = self.world.balancer.process().map_or(0, lb_tests::process::Process::pid);
        self.stage.act("The controller is killed", &format!("kill -9 {pid}"));
        self.world.balancer.kill();
        self.watch(Duration::from_secs(2));
        self.stage.note("20 more clients connect, with no controller there");
        self.world.connect(20)?;
        self.watch(Duration::from_secs(2));
        let flows = self.world.everybody_exchanges();
        let text = match &flows {
            Ok(()) => {
                "without it every client still publishes and receives, 20 new ones too".into()
            }
            Err(error) => format!("without it: {error:#}"),
        };
        self.found(act, flows.is_ok(), text);
        self.stage.act("The controller is started again", "mqlb run -c mqlb.yaml");
        let began = Instant::now();
        self.world.balancer.run()?;
        let took = began.elapsed();
        let view = self.watch(Duration::from_secs(3));
        let state = |name: &str| {
            let broker = view.brokers.iter().find(|broker| broker.name == name);
            broker.and_then(|broker| broker.state.clone()).unwrap_or_default()
        };
        let states = [state("broker-1"), state("broker-2"), state("broker-4")];
        let good = states == ["down", "draining", "active"];
        let text = format!(
            "started again, it knows all after {}: broker-1 {}, broker-2 {}, broker-4 {}",
            seconds(took),
            states[0],
            states[1],
            states[2]
        );
        self.found(act, good, text);
        self.nobody_lost(act, &before);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let act = "messages";
        self.stage.act("The clients say goodbye", "");
        let reports = self.world.stop_clients()?;
        let delivered: u64 = reports.iter().map(|report| report.counts().received).sum();
        let (with_it, others) = lost(&reports);
        let duplicated: u64 = reports.iter().map(|report| report.counts().duplicated).sum();
        let text = format!("{} delivered at QoS 1, {others} lost on the way", grouped(delivered));
        self.found(act, others == 0 && delivered > 0, text);
        if with_it > 0 {
            self.found(
                act,
                true,
                format!("{with_it} died with broker-1, which had acknowledged them"),
            );
        }
        if duplicated > 0 {
            self.found(
                act,
                true,
                format!("{duplicated} came twice, sent again after broker-1 died"),
            );
        }
        Ok(())
    }

    /// Runs a command of `mqlb`, as an act of its own.
    fn command(&mut self, title: &str, command: &str) -> Result<()> {
        self.stage.act(title, &format!("mqlb {command}"));
        let printed = self.world.balancer.run_ctl(command)?;
        for line in printed.lines() {
            self.stage.note(line);
        }
        Ok(())
    }

    /// Shows how things are for a while, and returns how they were at the end.
    fn watch(&mut self, how_long: Duration) -> View {
        let until = Instant::now() + how_long;
        loop {
            let view = self.world.view();
            self.stage.show(&view);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if how_long > FRAME {
                    self.stage.tell_state(&view);
                }
                return view;
            }
            sleep(left.min(FRAME));
        }
    }

    fn found(&mut self, act: &str, good: bool, text: String) {
        self.stage.found(good, &text);
        self.findings.add(good, act, text);
    }

    /// Finds out whether anybody was disconnected beyond those `before`.
    fn nobody_lost(&mut self, act: &str, before: &[usize]) {
        let gone = self.gone_since(before);
        let text = match gone.first() {
            None => "nobody was disconnected".to_owned(),
            Some(first) => format!("{} disconnected, first {first:?}", gone.len()),
        };
        self.found(act, gone.is_empty(), text);
    }

    /// How many disconnects each fleet has seen.
    fn disconnects(&self) -> Vec<usize> {
        self.world.reports().iter().map(|report| report.disconnects.len()).collect()
    }

    /// The disconnects of each fleet but as many as it had seen `before`.
    fn gone_since(&self, before: &[usize]) -> Vec<Disconnect> {
        let before = before.iter().copied().chain(std::iter::repeat(0));
        let reports = self.world.reports().into_iter().zip(before);
        reports.flat_map(|(report, before)| report.disconnects.into_iter().skip(before)).collect()
    }

    fn everybody_is_back(&self, before: &[usize], had: usize) -> bool {
        let gone = self.gone_since(before);
        gone.len() >= had && gone.iter().all(|one| one.back_after.is_some())
    }
}

fn clients(view: &View, broker: &str) -> usize {
    view.brokers.iter().find(|found| found.name == broker).map_or(0, |found| found.clients)
}

/// Those that were connected to `broker`, and the others.
fn split<'a>(gone: &'a [Disconnect], broker: &str) -> (Vec<&'a Disconnect>, Vec<&'a Disconnect>) {
    gone.iter().partition(|one| one.broker.as_deref() == Some(broker))
}

/// Lost messages: of clients that were disconnected, and of the others.
fn lost(reports: &[Report]) -> (u64, u64) {
    let (mut disconnected, mut others) = (0, 0);
    for report in reports {
        for client in &report.clients {
            let was_away = report.disconnects.iter().any(|one| one.client == client.client);
            *(if was_away { &mut disconnected } else { &mut others }) += client.counts.lost;
        }
    }
    (disconnected, others)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
