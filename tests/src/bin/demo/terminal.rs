//! The terminal: its size, and its second screen.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

/// True while the second screen is shown. Changed and relied on only with stdout locked.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether the output goes to a terminal that can be redrawn.
pub fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb" || name.is_empty());
    stdout().is_terminal() && !dumb
}

/// Columns and rows.
pub fn size() -> (usize, usize) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes a `winsize`, and `size` is one.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if result == 0 && size.ws_col > 0 && size.ws_row > 0 {
        (size.ws_col.into(), size.ws_row.into())
    } else {
        (80, 24)
    }
}

/// Changes to the second screen, and hides the cursor.
pub fn enter() {
    let mut out = stdout().lock();
    let _ = out.write_all(b"\x1b[?1049h\x1b[?25l");
    let _ = out.flush();
    SHOWN.store(true, Ordering::Relaxed);
}

/// Changes back, if that has not been done yet.
pub fn leave() {
    let mut out = stdout().lock();
    if SHOWN.swap(false, Ordering::Relaxed) {
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = out.flush();
    }
}

/// Shows these lines in place of what is on the second screen, if that is shown.
pub fn redraw(lines: &[String]) {
    let mut frame = String::from("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        // No line break at the end: it would scroll a screen that is full.
        frame.push_str(if index == 0 { "" } else { "\r\n" });
        frame.push_str(line);
        frame.push_str("\x1b[K");
    }
    frame.push_str("\x1b[J");
    let mut out = stdout().lock();
    if SHOWN.load(Ordering::Relaxed) {
        let _ = out.write_all(frame.as_bytes());
        let _ = out.flush();
    }
}
