//! Kernels from Debian's packages: fetched and unpacked, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, privilege::Privilege};

/// A kernel's files, unpacked.
#[derive(Debug)]
pub struct Kernel {
    /// The package and its version.
    pub name: String,
    /// Where its files are; ours may lie beside them.
    pub directory: PathBuf,
    /// The compressed image.
    pub image: PathBuf,
    /// The module for virtual Ethernet, if it is not built in.
    pub veth: Option<PathBuf>,
}

/// Where they are kept, for all runs to come.
const CACHE: &str = "target/kernels";

/// Those for virtual machines, which are the smallest.
const FLAVOUR: &str = "-cloud-amd64";

/// Fetches the newest kernel of each of these series, such as `6.1`, unless it is here already.
pub fn fetch(root: &Path, series: &[&str], privilege: Privilege) -> Result<Vec<Kernel>> {
    let cache = root.join(CACHE);
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let fetch = || -> Result<Vec<Kernel>> {
        series.iter().map(|series| fetch_one(&cache, series)).collect()
    };
    fetch().or_else(|error| {
        if privilege == Privilege::User {
            return Err(error);
        }
        packages::update(privilege);
        fetch()
    })
}

fn fetch_one(cache: &Path, series: &str) -> Result<Kernel> {
    let pattern = format!("^linux-image-{}[.].*{FLAVOUR}$", series.replace('.', "[.]"));
    let found = run(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let package = newest(&found, series).with_context(|| {
        format!(
            "the package sources of this machine offer no kernel of the series {series}\n\
             hint: Debian 12 has 6.1 and, in bookworm-security, 6.12: add what is missing to \
             /etc/apt/sources.list, then apt-get update"
        )
    })?;
    let part = cache.join(format!("{package}.part"));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    let address = run(apt_get_download(&part, package).arg("--print-uris"))?;
    let file = file_name(&address).with_context(|| format!("{package} has no address"))?;
    let name = file.trim_end_matches(".deb");
    let directory = cache.join(name);
    if directory.is_dir() {
        fs::remove_dir(&part).with_context(|| format!("remove {}", part.display()))?;
    } else {
        println!("fetching {package}");
        run(&mut apt_get_download(&part, package))?;
        run(Command::new("dpkg").current_dir(&part).args(["-x", file, "."]))?;
        fs::remove_file(part.join(file)).with_context(|| format!("remove {file}"))?;
        // At once: a run that is cut short leaves nothing that looks whole.
        fs::rename(&part, &directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let release = package.trim_start_matches("linux-image-");
    let veth = directory.join(format!("lib/modules/{release}/kernel/drivers/net/veth.ko"));
    Ok(Kernel {
        name: name.to_owned(),
        image: directory.join(format!("boot/vmlinuz-{release}")),
        veth: [veth.clone(), veth.with_extension("ko.xz")].into_iter().find(|path| path.exists()),
        directory,
    })
}

/// The newest package of the series among what `apt-cache search` found.
fn newest<'a>(found: &'a str, series: &str) -> Option<&'a str> {
    let names = found.lines().filter_map(|line| line.split(' ').next());
    names
        .filter_map(|name| {
            let version = name.strip_prefix(&format!("linux-image-{series}."))?;
            let numbers = version.strip_suffix(FLAVOUR)?.split(|sign: char| !sign.is_ascii_digit());
            // As numbers: 6.1.0-9 is older than 6.1.0-10.
            let numbers: Vec<u32> = numbers.filter_map(|digits| digits.parse().ok()).collect();
            Some((numbers, name))
        })
        .max()
        .map(|(_, name)| name)
}

/// The file that `apt-get download --print-uris` would write.
fn file_name(address: &str) -> Option<&str> {
    // 'ADDRESS' FILE SIZE HASH
    address.lines().find_map(|line| line.strip_prefix('\'')?.split(' ').nth(1))
}

fn apt_get_download(directory: &Path, package: &str) -> Command {
    let mut command = Command::new("apt-get");
    // It would become another user, who may not write there.
    command.current_dir(directory).args(["-qq", "-o", "APT::Sandbox::User=root"]);
    command.args(["download", package]);
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {command:?} says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_series_the_newest_kernel_for_virtual_machines_is_taken() {
        let found = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                     linux-image-6.1.0-10-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)\n\
                     linux-image-6.1.0-11-cloud-amd64-unsigned - Linux 6.1 for x86-64 cloud\n\
                     linux-image-6.1.0-12-rt-amd64 - Linux 6.1 for 64-bit PCs\n\
                     linux-image-6.12.9+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud\n\
                     linux-image-6.12.117+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud\n";
        assert_eq!(newest(found, "6.1"), Some("linux-image-6.1.0-10-cloud-amd64"));
        assert_eq!(newest(found, "6.12"), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest(found, "6.6"), None);
    }

    #[test]
    fn the_file_of_a_package_is_read_with_its_version() {
        let address = "'http://host/pool/linux-image-1_6.1.192-2_amd64.deb' \
                       linux-image-1_6.1.192-2_amd64.deb 26713492 SHA256:00\n";
        assert_eq!(file_name(address), Some("linux-image-1_6.1.192-2_amd64.deb"));
        assert_eq!(file_name(""), None);
    }
}
