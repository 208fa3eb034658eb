//! Archives in cpio's format "newc", which the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a file that may be executed, and the directories that it is in.
    pub fn file(&mut self, path: &str, contents: &[u8]) -> Result<()> {
        self.directories_of(path)?;
        self.entry(path, PROGRAM, (0, 0), contents)
    }

    /// Adds a character device by its numbers, and the directories that it is in.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.directories_of(path)?;
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[])
    }

    /// Adds an empty directory, and those that it is in.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.directories_of(&format!("{path}/"))
    }

    /// The whole archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    /// The kernel makes no directory by itself: each must come before what is in it.
    fn directories_of(&mut self, path: &str) -> Result<()> {
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            if self.directories.insert(path[..end].to_owned()) {
                self.entry(&path[..end], DIRECTORY, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(contents.len())
            .with_context(|| format!("{path} is too large for an archive"))?;
        self.entries += 1;
        // Number, mode, user, group, links, time, size; device it is on; device it is; name; sum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1];
        let name_size = u32::try_from(name.len() + 1).context("a path is too long")?;
        self.bytes.extend(b"070701");
        for field in fields.into_iter().chain([name_size, 0]) {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    /// To the next multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry {
        mode: u32,
        device: (u32, u32),
        name: String,
        contents: Vec<u8>,
    }

    /// Every entry, read by the offsets of the format.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |number: usize| {
                let digits = &bytes[6 + 8 * number..][..8];
                u32::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (name_size, size) = (field(11) as usize, field(6) as usize);
            let name = str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap().to_owned();
            assert_eq!(bytes[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            let contents = bytes[start..start + size].to_vec();
            let device = (field(9), field(10));
            entries.push(Entry { mode: field(1), device, name, contents });
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn an_archive_holds_each_directory_once_and_before_what_is_in_it() {
        let mut archive = Archive::default();
        archive.file("/bin/ip", b"12345").unwrap();
        archive.file("/bin/sub/other", b"").unwrap();
        archive.directory("/modules").unwrap();
        archive.device("/dev/console", 5, 1).unwrap();
        let entries = read(&archive.finish().unwrap());
        let names: Vec<_> = entries.iter().map(|entry| (entry.mode, &*entry.name)).collect();
        assert_eq!(
            names,
            [
                (0o040_755, "bin"),
                (0o100_755, "bin/ip"),
                (0o040_755, "bin/sub"),
                (0o100_755, "bin/sub/other"),
                (0o040_755, "modules"),
                (0o040_755, "dev"),
                (0o020_600, "dev/console"),
                (0, "TRAILER!!!"),
            ]
        );
        assert_eq!(entries[1].contents, b"12345");
        assert_eq!(entries[6].device, (5, 1));
    }

    #[test]
    fn an_entry_is_as_the_format_says_byte_by_byte() {
        let mut archive = Archive::default();
        archive.file("/init", b"abc").unwrap();
        let header = "070701\
            00000001000081ed000000000000000000000001000000000000000300000000000000000000000000000000\
            0000000500000000";
        assert_eq!(&archive.bytes[..110], header.as_bytes());
        // The name ends at 115, the contents begin at the next multiple of four.
        assert_eq!(&archive.bytes[110..], b"init\0\0abc\0");
    }
}
