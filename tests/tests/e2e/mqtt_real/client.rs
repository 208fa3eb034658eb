//! A client in whichever language, told what to do and asked what has happened.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{self, Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use lb_tests::netns::Namespace;
use tokio::sync::mpsc::UnboundedSender;

use super::events::{Command, Event, Message, Settings};
use super::rust;
use crate::LIMIT;

/// The language that a client is written in, and with it the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    Rust,
}

impl Language {
    pub const ALL: [Self; 3] = [Self::Python, Self::JavaScript, Self::Rust];
}

/// A running client. Dropped, it is ended.
pub struct Client {
    pub settings: Settings,
    driver: Driver,
    incoming: Receiver<Event>,
    /// All that has happened so far.
    events: Vec<Event>,
}

enum Driver {
    Program(Child, ChildStdin),
    /// It ends when it is told no more.
    Thread(UnboundedSender<Command>),
}

impl Client {
    pub fn start(language: Language, namespace: &Namespace, settings: Settings) -> Self {
        let (driver, incoming) = match language {
            Language::Python => {
                // The one that sees the packages of Debian.
                start_program(namespace, "/usr/bin/python3", "paho_client.py", &settings)
            }
            Language::JavaScript => start_program(namespace, "node", "mqttjs_client.js", &settings),
            Language::Rust => start_thread(namespace, &settings),
        };
        Self { settings, driver, incoming, events: Vec::new() }
    }

    pub fn tell(&mut self, command: Command) {
        match &mut self.driver {
            Driver::Program(_, input) => {
                let line = serde_json::to_string(&command).unwrap() + "\n";
                input.write_all(line.as_bytes()).unwrap();
            }
            Driver::Thread(commands) => commands.send(command).unwrap(),
        }
    }

    /// Waits until what has happened so far is `enough`.
    pub fn wait(&mut self, what: &str, enough: impl Fn(&[Event]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !enough(&self.events) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(event) => self.events.push(event),
                Err(error) => panic!(
                    "{} waits for {what}: {error} after {:?}",
                    self.settings.client_id, self.events
                ),
            }
        }
    }

    /// Waits until something happens that has not happened before; what that is.
    pub fn next(&mut self) -> Event {
        let before = self.events.len();
        self.wait("anything", |events| events.len() > before);
        self.events[before].clone()
    }

    /// Waits until this has happened.
    pub fn wait_for(&mut self, event: &Event) {
        self.wait(&format!("{event:?}"), |events| events.contains(event));
    }

    /// Takes part no more, in order.
    pub fn leave(&mut self) {
        self.tell(Command::Leave);
        self.wait_for(&Event::Left);
    }

    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// The messages among events.
pub fn messages(events: &[Event]) -> impl Iterator<Item = &Message> {
    events.iter().filter_map(|event| match event {
        Event::Received(message) => Some(message),
        _ => None,
    })
}

fn start_program(
    namespace: &Namespace,
    interpreter: &str,
    script: &str,
    settings: &Settings,
) -> (Driver, Receiver<Event>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/mqtt_real");
    let mut command = process::Command::new(interpreter);
    command
        .arg(directory.join(script))
        .arg(serde_json::to_string(settings).unwrap())
        // Where Debian keeps modules; not every build of Node.js looks there by itself.
        .env("NODE_PATH", "/usr/share/nodejs")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = namespace.spawn(&mut command).unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (events, incoming) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            let event =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("it says {error}"));
            if events.send(event).is_err() {
                return;
            }
        }
    });
    (Driver::Program(child, input), incoming)
}

fn start_thread(namespace: &Namespace, settings: &Settings) -> (Driver, Receiver<Event>) {
    let (commands, obeyed) = tokio::sync::mpsc::unbounded_channel();
    let (events, incoming) = mpsc::channel();
    let (namespace, settings) = (namespace.clone(), settings.clone());
    std::thread::spawn(move || {
        namespace.enter().unwrap();
        // Otherwise the namespace would outlive the test by this thread.
        drop(namespace);
        rust::run(&settings, obeyed, events);
    });
    (Driver::Thread(commands), incoming)
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Driver::Program(child, _) = &mut self.driver {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
