//! What the kernel said about the program, for people.

use std::{error::Error, io};

use aya::{EbpfError, programs::ProgramError};

use super::error::hint;

/// Lines of the verifier's log that are shown: its last words.
const LOG_LINES: usize = 20;

/// Why tables could not be made.
pub(super) fn ebpf(error: &EbpfError) -> String {
    with_causes(error)
}

/// Why the program could not be loaded or attached.
pub(super) fn program(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        let heading = if tail.is_empty() { "" } else { "\nthe verifier's last words:\n" };
        return format!("{io_error}{heading}{}{}", tail.join("\n"), hint(io_error));
    }
    with_causes(error)
}

/// The kernel's error code at the root of `error`.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut privileges = String::new();
    for cause in
        std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
    {
        let text = cause.to_string();
        // Many errors repeat their cause.
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            privileges = hint(error);
        }
    }
    texts.join(": ") + &privileges
}
