//! One direction of a relay, in a thread of its own.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe;

use crate::cpu;

/// What `mqlb` reads at once, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a pipe holds unless somebody asks for more, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// How bytes are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Copied,
    Spliced,
}

impl Way {
    pub const ALL: [Self; 2] = [Self::Copied, Self::Spliced];
}

/// Passes on what comes until the source ends; the CPU time of this thread for it.
pub fn run(way: Way, source: &TcpStream, target: &TcpStream) -> Result<Duration> {
    source.set_nonblocking(true)?;
    let mut passer = Passer::new(way)?;
    let before = cpu_time()?;
    loop {
        let mut readable = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
        poll(&mut readable, PollTimeout::NONE).context("wait for bytes")?;
        if passer.pass(source, target)? == Some(0) {
            return Ok(cpu_time()?.saturating_sub(before));
        }
    }
}

enum Passer {
    Copying(Box<[u8; CHUNK_BYTES]>),
    /// Through a pipe, which is empty in between.
    Splicing(OwnedFd, OwnedFd),
}

impl Passer {
    fn new(way: Way) -> Result<Self> {
        Ok(match way {
            Way::Copied => Self::Copying(Box::new([0; CHUNK_BYTES])),
            Way::Spliced => {
                let (outlet, inlet) = pipe().context("make a pipe")?;
                Self::Splicing(outlet, inlet)
            }
        })
    }

    /// Passes on what one read brings: how many bytes, if there were any to read.
    fn pass(&mut self, mut source: &TcpStream, mut target: &TcpStream) -> Result<Option<usize>> {
        match self {
            Self::Copying(chunk) => match source.read(&mut chunk[..]) {
                Ok(read) => {
                    target.write_all(&chunk[..read]).context("write")?;
                    Ok(Some(read))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("read"),
            },
            Self::Splicing(outlet, inlet) => {
                let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
                let read = match splice(source, None, &*inlet, None, PIPE_BYTES, flags) {
                    Ok(read) => read,
                    Err(Errno::EAGAIN) => return Ok(None),
                    Err(error) => return Err(error).context("splice from the source"),
                };
                let mut left = read;
                while left > 0 {
                    let flags = SpliceFFlags::SPLICE_F_MOVE;
                    let written = splice(&*outlet, None, target, None, left, flags);
                    left -= written.context("splice to the target")?;
                }
                Ok(Some(read))
            }
        }
    }
}

fn cpu_time() -> Result<Duration> {
    let file = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    cpu::parse(&text).with_context(|| format!("{file}: {text}"))
}
