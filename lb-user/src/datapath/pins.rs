//! Where everything is pinned, so that it outlives the controller.
//!
//! ```text
//! PIN_DIR/layout         version of all below
//! PIN_DIR/maps/NAME      the tables
//! PIN_DIR/ports/PEER     the table of source ports of a peer
//! PIN_DIR/rings/SERVICE  the ring of a service
//! PIN_DIR/links/IFNAME   the program's attachment to an interface
//! ```

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use super::{StartError, sys};

/// The directory of the pins.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn layout(&self) -> PathBuf {
        self.root.join("layout")
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(super) fn ports(&self) -> PathBuf {
        self.root.join("ports")
    }

    pub(super) fn ports_of(&self, peer: u32) -> PathBuf {
        self.ports().join(peer.to_string())
    }

    pub(super) fn rings(&self) -> PathBuf {
        self.root.join("rings")
    }

    pub(super) fn ring(&self, service: u32) -> PathBuf {
        self.rings().join(service.to_string())
    }

    /// The ring that is about to take the place of another.
    pub(super) fn next_ring(&self, service: u32) -> PathBuf {
        self.rings().join(format!("{service}-next"))
    }

    pub(super) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    pub(super) fn link(&self, interface: &str) -> PathBuf {
        self.links().join(file_name(interface))
    }

    /// The interfaces with a pinned attachment.
    pub(super) fn linked_interfaces(&self) -> Result<Vec<String>, StartError> {
        Ok(list(&self.links())?.iter().map(|name| interface_name(name)).collect())
    }

    /// The peers with a pinned table of source ports.
    pub(super) fn peers(&self) -> Result<Vec<u32>, StartError> {
        Ok(list(&self.ports())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Whether anything is pinned.
    pub(super) fn any(&self) -> Result<bool, StartError> {
        let in_directories = [self.maps(), self.ports(), self.rings(), self.links()];
        for directory in in_directories {
            if !list(&directory)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(self.layout().exists())
    }

    pub(super) fn make_directories(&self) -> Result<(), StartError> {
        make(&[self.maps(), self.ports(), self.rings(), self.links()])
    }

    /// Removes every pin, links first: once no program runs, nobody misses the tables.
    pub(super) fn remove_all(&self) -> Result<(), StartError> {
        for name in list(&self.links())? {
            remove_link(&self.links().join(name))?;
        }
        for directory in [self.links(), self.rings(), self.ports(), self.maps()] {
            for name in list(&directory)? {
                remove(&directory.join(name))?;
            }
            remove_directory(&directory)?;
        }
        remove(&self.layout())?;
        remove_directory(&self.root)
    }
}

/// Makes these directories, and those that they lie in.
pub(super) fn make(directories: &[PathBuf]) -> Result<(), StartError> {
    directories.iter().try_for_each(|directory| {
        fs::create_dir_all(directory)
            .map_err(|source| StartError::file("make directory", directory, source))
    })
}

/// Takes a program off its interface and removes the pin of its link.
pub(super) fn remove_link(path: &Path) -> Result<(), StartError> {
    // Fails if the interface is gone already, and then there is nothing to take off.
    if let Err(error) = sys::open(path).and_then(|link| sys::detach(link.as_fd())) {
        tracing::debug!(path = %path.display(), %error, "link not detached");
    }
    remove(path)
}

/// Removes a pin; fine if it is gone.
pub(super) fn remove(path: &Path) -> Result<(), StartError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StartError::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<(), StartError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StartError::file("remove directory", path, error))
        }
        _ => Ok(()),
    }
}

fn list(directory: &Path) -> Result<Vec<String>, StartError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StartError::file("list", directory, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StartError::file("list", directory, error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// bpffs refuses dots in names, VLAN interfaces have them; no interface has a colon.
fn file_name(interface: &str) -> String {
    interface.replace('.', ":")
}

fn interface_name(file: &str) -> String {
    file.replace(':', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_interface_keeps_its_name() {
        let pins = Pins::new("/sys/fs/bpf/mqlb");
        assert_eq!(pins.link("eth0.100"), Path::new("/sys/fs/bpf/mqlb/links/eth0:100"));
        assert_eq!(interface_name(&file_name("eth0.100")), "eth0.100");
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        Pins::new("/nonexistent/mqlb").remove_all().unwrap();
    }
}
