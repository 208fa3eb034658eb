//! Debian packages that the tasks need.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::privilege::Privilege;

/// A program or file, and the package that brings it.
type Package = (&'static str, &'static str);

/// What the tests in network namespaces run.
pub const FOR_TESTS: &[Package] = &[
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("mosquitto", "mosquitto"),
    ("/usr/share/nodejs/mqtt", "node-mqtt"),
    ("openssl", "openssl"),
    ("ping", "iputils-ping"),
    ("/usr/lib/python3/dist-packages/paho", "python3-paho-mqtt"),
    ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    ("tshark", "tshark"),
];

/// What every part of the benchmark runs.
pub const FOR_BENCH: &[Package] = &[("ip", "iproute2"), ("mosquitto", "mosquitto")];

/// What the benchmark compares with, end to end.
pub const FOR_COMPARISON: &[Package] = &[
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    ("nft", "nftables"),
];

/// What boots other kernels.
pub const FOR_KERNELS: &[Package] =
    &[("ip", "iproute2"), ("qemu-system-x86_64", "qemu-system-x86")];

/// A compiler that builds for BPF.
pub const FOR_BPF: &[Package] = &[
    ("/usr/bin/rustc", "rustc-web"),
    ("/usr/bin/cargo", "cargo-web"),
    ("/usr/lib/rustlib/src/rust/library/core", "rust-web-src"),
];

/// Installs what is missing of `packages`, if it may and can; returns what is missing then.
pub fn provide(
    packages: &[Package],
    privilege: Privilege,
    install: bool,
) -> Result<Vec<&'static str>> {
    let missing = missing(packages);
    if missing.is_empty() || !install || privilege == Privilege::User || !installed("apt-get") {
        return Ok(missing);
    }
    println!("installing {}", missing.join(", "));
    update(privilege);
    let arguments = [&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat();
    apt_get(privilege, &arguments)?;
    Ok(self::missing(packages))
}

/// Reads the lists of packages anew: those of a fresh image are empty or old.
pub fn update(privilege: Privilege) {
    if apt_get(privilege, &["update"]).is_err() {
        eprintln!("apt-get update failed; trying with the lists there are");
    }
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|(file, _)| !installed(file)).map(|(_, package)| *package).collect()
}

/// Whether this program is to be found, or this absolute path exists.
pub fn installed(name: &str) -> bool {
    find(name).is_some()
}

/// Where this program is, or this absolute path if it exists.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Programs of the administrator are not on every user's path.
    let mut places = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // `join` with an absolute path is that path.
    places.find_map(|place| Some(place.join(name)).filter(|file| file.exists()))
}

fn apt_get(privilege: Privilege, arguments: &[&str]) -> Result<()> {
    let status = privilege
        .command("apt-get", &[("DEBIAN_FRONTEND", "noninteractive".as_ref())])
        .args(arguments)
        .status()
        .context("run apt-get")?;
    if status.success() { Ok(()) } else { bail!("apt-get {}: {status}", arguments.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name_and_a_file_by_path() {
        assert!(installed("sh") && installed("/proc/self"));
        assert!(!installed("no-such-program") && !installed("/no/such/file"));
    }
}
