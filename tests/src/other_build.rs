//! A build of `mqlb` with another XDP program, made without building: for tests of upgrades.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _};

use crate::{balancer, kernel};

/// `mov reg, 0` in 64 bits: opcode, registers, offset, value.
const MOV64: u8 = 0xb7;
/// The same in 32 bits, which zeroes the upper half: another instruction with the same effect.
const MOV32: u8 = 0xb4;
const INSTRUCTION_BYTES: usize = 8;

/// Writes to `path` the `mqlb` under test with one instruction of its XDP program replaced by
/// another that does the same: the kernel gives the program another tag.
pub fn write(path: &Path) -> Result<()> {
    let mut program = fs::read(balancer::program()?).context("read mqlb")?;
    let object = fs::read(kernel::object()).context("read the XDP program")?;
    let instruction = replaceable(&object)?;
    // Once in the program, or more often: each is the same.
    let mut places = 0;
    let mut from = 0;
    while let Some(found) = find(&program[from..], &object) {
        program[from + found + instruction] = MOV32;
        from += found + object.len();
        places += 1;
    }
    ensure!(places > 0, "mqlb was built with another XDP program than the one that is tested");
    fs::write(path, program).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Where in the object the program first sets a register to zero.
fn replaceable(object: &[u8]) -> Result<usize> {
    let file = object::File::parse(object).context("read the XDP program")?;
    // Where the functions lie that the entry point calls.
    let section = file.section_by_name(".text").context("the object has a section .text")?;
    let (start, bytes) = section.file_range().context("the section has contents")?;
    let start = usize::try_from(start)?;
    let code: Range<usize> = start..start + usize::try_from(bytes)?;
    let sets_zero = |place: &usize| {
        let instruction = &object[*place..*place + INSTRUCTION_BYTES];
        instruction[0] == MOV64 && instruction[1] < 0x10 && instruction[2..] == [0; 6]
    };
    let place = code.step_by(INSTRUCTION_BYTES).find(sets_zero);
    place.context("the program sets some register to zero")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // The first bytes are those of an ELF header: it differs nearly everywhere at once.
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
