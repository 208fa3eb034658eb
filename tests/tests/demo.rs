//! The show: `cargo xtask demo` starts the program that is tested here.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use lb_tests::traces::Traces;
use lb_tests::{balancer, exclusive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A show, without a screen.
struct Show {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    traces: Traces,
}

impl Show {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.arg("--mqlb").arg(balancer::program().unwrap()).arg("--plain");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let traces = Traces::of(child.id(), []);
        Self { child, lines, traces }
    }

    /// The next line, if there is one. Whatever runs while it is told is noted.
    fn next(&mut self) -> Option<String> {
        let line = self.lines.next()?.unwrap();
        self.traces.note_children(self.child.id());
        Some(line)
    }

    /// What it says until it says this.
    fn wait_for(&mut self, text: &str) {
        while let Some(line) = self.next() {
            if line.contains(text) {
                return;
            }
        }
        panic!("the show ended without {text:?}");
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        // Of a test that failed: it has ended otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_show_ends_as_it_should_and_leaves_nothing_behind() {
    let _exclusive = exclusive();
    let mut show = Show::start();
    let mut told = Vec::new();
    while let Some(line) = show.next() {
        told.push(line);
    }
    let status = show.child.wait().unwrap();
    let told = told.join("\n");
    assert!(status.success(), "{status}\n{told}");
    assert!(told.ends_with("Nothing of this is left on your machine."), "{told}");
    for act in ["300 clients", "a broker joins", "a broker is drained", "a broker dies"] {
        assert!(told.lines().any(|line| line.starts_with(act)), "nothing on {act:?} in\n{told}");
    }
    // Four brokers, and the controller twice.
    assert!(show.traces.processes() >= 6, "{:?}", show.traces);
    show.traces.assert_gone();
}

#[test]
fn a_show_that_is_stopped_says_so_and_leaves_nothing_behind() {
    let _exclusive = exclusive();
    for moment in ["A network with three brokers", "A fourth broker joins"] {
        let mut show = Show::start();
        show.wait_for(moment);
        kill(Pid::from_raw(show.child.id().cast_signed()), Signal::SIGINT).unwrap();
        while show.next().is_some() {}
        let status = show.child.wait().unwrap();
        let mut said = String::new();
        show.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(128 + Signal::SIGINT as i32), "{said}");
        assert!(said.contains("Stopped. Removing"), "{said:?}");
        show.traces.assert_gone();
    }
}
