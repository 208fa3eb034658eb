//! The BPF object as a file: strips its debug information, counts its instructions.

use anyhow::{Context, Result};
use object::{
    Object, ObjectSection, ObjectSymbol,
    build::elf::{Builder, Section, SectionData},
    elf::{SHT_STRTAB, STT_SECTION},
};

/// The object without DWARF. BTF and the line information of the verifier's log stay.
pub fn strip_debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("read the BPF object")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // Symbols that stood for a deleted section would keep no meaning.
    let gone: Vec<_> =
        builder.sections.iter().filter(|section| section.delete).map(Section::id).collect();
    for symbol in &mut builder.symbols {
        let of_gone = symbol.section.is_some_and(|section| gone.contains(&section));
        symbol.delete = symbol.st_type() == STT_SECTION && of_gone;
    }
    // LLVM keeps the names of sections and symbols in one table; the builder wants two.
    let has_section_names =
        builder.sections.iter().any(|s| matches!(s.data, SectionData::SectionString));
    if !has_section_names {
        let names = builder.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("write the stripped BPF object")?;
    Ok(stripped)
}

/// A function of the object and its number of instructions.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// The ELF section: programs are in sections named for their type.
    pub section: String,
    /// The symbol.
    pub name: String,
    /// 64-bit instruction slots (a 64-bit constant takes two).
    pub instructions: u64,
}

/// Bytes of a BPF instruction.
const INSTRUCTION: u64 = 8;

/// Every function of `object`, in the order of the file.
pub fn functions(object: &[u8]) -> Result<Vec<Function>> {
    let file = object::File::parse(object).context("read the BPF object")?;
    let mut functions = Vec::new();
    for symbol in file.symbols().filter(|s| s.kind() == object::SymbolKind::Text) {
        let Some(index) = symbol.section_index() else { continue };
        let section = file.section_by_index(index)?;
        functions.push(Function {
            section: section.name()?.to_owned(),
            name: symbol.name()?.to_owned(),
            instructions: symbol.size() / INSTRUCTION,
        });
    }
    Ok(functions)
}
