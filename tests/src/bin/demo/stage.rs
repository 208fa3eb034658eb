//! Where the show is seen: a screen that is redrawn, or lines one after the other.

use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use lb_tests::cleanup::Cleanup;

use super::line::{Line, Look};
use super::terminal;
use super::view::View;

/// The output of the show.
#[derive(Debug)]
pub struct Stage {
    start: Instant,
    redraw: bool,
    colours: bool,
    act: (String, String),
    log: Vec<Line>,
    restore: Option<Cleanup>,
}

impl Stage {
    /// A screen if `redraw`, else lines.
    pub fn open(redraw: bool, colours: bool) -> Self {
        let mut stage = Self {
            start: Instant::now(),
            redraw,
            colours,
            act: Default::default(),
            log: Vec::new(),
            restore: None,
        };
        if redraw {
            stage.restore = Some(Cleanup::new(terminal::leave));
            terminal::enter();
        }
        stage
    }

    /// Begins an act: what is done, and the command that does it.
    pub fn act(&mut self, title: &str, command: &str) {
        self.act = (title.to_owned(), command.to_owned());
        let line = Line::new().and(Look::Bold, title).and(Look::Dim, format!("   {command}"));
        self.tell(line);
    }

    /// Tells what happened.
    pub fn note(&mut self, text: impl Into<String>) {
        self.tell(Line::new().and(Look::Plain, format!("  {}", text.into())));
    }

    /// Tells what was found out, and whether it is as it should be.
    pub fn found(&mut self, good: bool, text: &str) {
        let (look, mark) = if good { (Look::Good, "✔") } else { (Look::Bad, "✘") };
        self.tell(Line::new().and(look, format!("  {mark} {text}")));
    }

    /// Shows how things are; only on a screen.
    pub fn show(&self, view: &View) {
        if !self.redraw {
            return;
        }
        let (width, height) = terminal::size();
        let mut lines = vec![self.title(width), Line::new(), self.heading(), Line::new()];
        lines.extend(view.lines(width));
        lines.push(Line::new());
        let room = height.saturating_sub(lines.len());
        lines.extend_from_slice(&self.log[self.log.len().saturating_sub(room)..]);
        let rendered: Vec<String> =
            lines.iter().take(height).map(|line| line.render(width, self.colours)).collect();
        terminal::redraw(&rendered);
    }

    /// Tells how things are, in one line; only without a screen.
    pub fn tell_state(&mut self, view: &View) {
        if !self.redraw {
            self.tell(Line::new().and(Look::Dim, format!("  {}", view.in_one_line())));
        }
    }

    /// Ends the screen, and prints what was told on it.
    pub fn close(&mut self) {
        self.restore = None;
        if self.redraw {
            self.redraw = false;
            let log = std::mem::take(&mut self.log);
            self.print(&log);
        }
    }

    /// Prints lines below everything else.
    pub fn print(&self, lines: &[Line]) {
        let mut out = stdout().lock();
        for line in lines {
            let _ = writeln!(out, "{}", line.render(usize::MAX, self.colours));
        }
        let _ = out.flush();
    }

    fn tell(&mut self, line: Line) {
        let mut stamped = Line::new().and(Look::Dim, clock(self.start.elapsed())).to(6);
        stamped.append(line);
        if self.redraw {
            self.log.push(stamped);
        } else {
            self.print(&[stamped]);
        }
    }

    fn title(&self, width: usize) -> Line {
        Line::new()
            .and(Look::Bold, "mqlb demo")
            .and(Look::Dim, "   MQTT clients → 192.0.2.10:1883 → XDP → brokers")
            .right(width.min(100), Look::Bold, clock(self.start.elapsed()))
    }

    fn heading(&self) -> Line {
        let (title, command) = &self.act;
        Line::new()
            .and(Look::Good, "▶ ")
            .and(Look::Bold, title)
            .and(Look::Dim, format!("   {command}"))
    }
}

fn clock(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}
