//! The first file system of a machine: the guest, what it runs, and what both are linked to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::cpio::Archive;
use crate::packages;

/// An XDP program under test.
#[derive(Debug)]
pub struct Object {
    /// The variable that tells the guest where it is.
    pub variable: &'static str,
    /// Where it is on this machine.
    pub path: PathBuf,
}

impl Object {
    /// Where it lies in the machine.
    fn place(&self) -> String {
        format!("/{}", self.variable)
    }

    /// What the guest is told.
    pub fn assignment(&self) -> String {
        format!("{}={}", self.variable, self.place())
    }
}

/// Packs it, with a module to load if there is one.
///
/// `ip` is the host's own, and linked dynamically: so is the guest then, which spares building
/// everything a second time for static linking.
pub fn pack(guest: &Path, objects: &[Object], module: Option<&Path>) -> Result<Vec<u8>> {
    let ip = packages::find("ip").context("`ip` is not installed")?;
    let mut archive = Archive::default();
    let mut add = |place: &str, file: &Path| -> Result<()> {
        let contents = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        archive.file(place, &contents)
    };
    add("/init", guest)?;
    add("/bin/ip", &ip)?;
    for object in objects {
        add(&object.place(), &object.path)?;
    }
    let mut libraries = libraries(guest)?;
    libraries.extend(self::libraries(&ip)?);
    for library in &libraries {
        add(library, Path::new(library))?;
    }
    if let Some(module) = module {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        add(&format!("/modules/{name}"), module)?;
    }
    archive.directory("/modules")?;
    // The standard streams of the first process.
    archive.device("/dev/console", 5, 1)?;
    archive.finish()
}

/// The shared libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    ensure!(output.status.success(), "ldd {}: {}", program.display(), output.status);
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// The absolute paths that ldd names.
fn paths(ldd: &str) -> BTreeSet<String> {
    // NAME => PATH (ADDRESS), or PATH (ADDRESS); what the kernel brings itself has no path.
    let words = ldd.lines().filter_map(|line| line.rsplit_once(" (")?.0.split_whitespace().last());
    words.filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_read_from_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007f1789bb2000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1789829000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f1789bb4000)\n";
        let found: Vec<_> = paths(said).into_iter().collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(paths("\tstatically linked\n").is_empty());
    }

    #[test]
    fn the_libraries_of_this_program_are_found() {
        let libraries = libraries(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.iter().any(|path| path.contains("libc.so")), "{libraries:?}");
        assert!(libraries.iter().all(|path| Path::new(path).exists()), "{libraries:?}");
    }
}
