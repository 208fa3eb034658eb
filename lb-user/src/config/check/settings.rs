//! What holds for the whole balancer: interfaces, limits, timeouts, the API, the log.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf, time::Duration};

use lb_common::hash::Seed;

use super::report::{At, Checked};
use crate::config::{
    defaults,
    fault::Fault,
    model::{
        ApiSettings, InterfaceSettings, Limits, LogFormat, LogLevel, LogSettings, Secret, Timeouts,
        XdpMode,
    },
    raw, value,
};

/// The kernel's IFNAMSIZ, less the final zero.
const MAX_INTERFACE_NAME: usize = 15;

/// The size of `sockaddr_un.sun_path`, less the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// The data plane counts in ticks of about a second.
pub const TICK: Duration = Duration::from_secs(1);

pub fn interfaces(
    at: &At,
    raw: Option<Vec<raw::Interface>>,
    needed: bool,
) -> Vec<InterfaceSettings> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() && needed {
        at.reject(Fault::new(
            "there is no interface",
            "name each interface that clients or brokers are reached by, as in `- name: eth0`",
        ));
    }
    let mut interfaces: Vec<InterfaceSettings> = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let Ok(interface) = interface(&at.index(i), raw) else { continue };
        if interfaces.iter().any(|other| other.name == interface.name) {
            at.index(i).key("name").reject(Fault::new(
                format!("the interface {:?} is named twice", interface.name),
                "remove one of the two",
            ));
        }
        interfaces.push(interface);
    }
    interfaces
}

fn interface(at: &At, raw: &raw::Interface) -> Checked<InterfaceSettings> {
    let hint = "give the name of an interface, as `ip link` shows it";
    let name = at.required("name", raw.name.as_ref(), hint, interface_name);
    let xdp = at.defaulted("xdp", raw.xdp.as_ref(), defaults::XDP, |text| {
        let modes =
            [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
        value::choice(text, &modes)
    });
    Ok(InterfaceSettings { name: name?, xdp: xdp? })
}

fn interface_name(text: &str) -> Result<String, Fault> {
    if text.len() > MAX_INTERFACE_NAME {
        return Err(Fault::new(
            format!("{text:?} has {} bytes, more than {MAX_INTERFACE_NAME}", text.len()),
            "no interface can have such a name; `ip link` shows those there are",
        ));
    }
    // As the kernel's dev_valid_name().
    let unfit = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.contains(unfit) {
        return Err(Fault::new(
            format!("{text:?} is not a name of an interface"),
            "give the name of an interface, as `ip link` shows it",
        ));
    }
    Ok(text.to_owned())
}

/// The key of the flow hash; never shown, not even when it is wrong.
pub fn seed(text: &str) -> Result<Secret<Seed>, Fault> {
    let hint = "write 32 hexadecimal digits, as `openssl rand -hex 16` prints them, in quotes";
    if text.len() != 32 {
        let problem = format!("the seed has {} characters, not 32", text.chars().count());
        return Err(Fault::new(problem, hint));
    }
    let value = u128::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
    let value = value.ok_or_else(|| Fault::new("the seed is not hexadecimal", hint))?;
    Ok(Secret::new(Seed((value >> 64) as u64, value as u64)))
}

pub fn limits(at: &At, raw: &raw::Limits) -> Checked<Limits> {
    let size = |key, text: Option<&raw::Text>, default, largest| {
        let hint = format!("choose how many entries the table holds, 1 to {largest}");
        at.defaulted(key, text, default, |text| value::number(text, 1..=largest, &hint))
    };
    let default = defaults::LIMITS;
    let connections =
        size("connections", raw.connections.as_ref(), default.connections, 100_000_000);
    let pending = size("pending", raw.pending.as_ref(), default.pending, 16_777_216);
    let backends = size("backends", raw.backends.as_ref(), default.backends, 65_536);
    Ok(Limits { connections: connections?, pending: pending?, backends: backends? })
}

pub fn timeouts(at: &At, raw: &raw::Timeouts) -> Checked<Timeouts> {
    let time = |key, text: Option<&raw::Text>, default| {
        at.defaulted(key, text, default, |text| value::duration(text, TICK))
    };
    let default = defaults::TIMEOUTS;
    let pending = time("pending", raw.pending.as_ref(), default.pending);
    let closed = time("closed", raw.closed.as_ref(), default.closed);
    let port_rest = time("port_rest", raw.port_rest.as_ref(), default.port_rest);
    Ok(Timeouts { pending: pending?, closed: closed?, port_rest: port_rest? })
}

pub fn api(at: &At, raw: &raw::Api) -> Checked<ApiSettings> {
    let socket = at.defaulted("socket", raw.socket.as_ref(), defaults::SOCKET.into(), socket_path);
    let mode = at.defaulted("mode", raw.mode.as_ref(), defaults::SOCKET_MODE, value::file_mode);
    let metrics = at.optional("metrics", raw.metrics.as_ref(), value::socket_address);
    Ok(ApiSettings { socket: socket?, mode: mode?, metrics: metrics? })
}

fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    let path = value::absolute_path(text)?;
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(Fault::new(
            format!("the path has {} bytes, more than {MAX_SOCKET_PATH}", text.len()),
            "choose a shorter path: the kernel permits no longer one for a Unix socket",
        ));
    }
    Ok(path)
}

pub fn pin_dir(text: &str) -> Result<PathBuf, Fault> {
    let path = value::absolute_path(text)?;
    if path.strip_prefix("/sys/fs/bpf").is_ok_and(|rest| rest.to_string_lossy().contains('.')) {
        return Err(Fault::new(
            format!("{text:?} contains a dot, which bpffs does not permit"),
            "choose a name without dots, such as /sys/fs/bpf/mqlb",
        ));
    }
    Ok(path)
}

pub fn log(at: &At, raw: &raw::Log) -> Checked<LogSettings> {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    let levels = [Error, Warn, Info, Debug, Trace].map(|level| (level.as_str(), level));
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let level = at.defaulted("level", raw.level.as_ref(), defaults::LOG.level, |text| {
        value::choice(text, &levels)
    });
    let format = at.defaulted("format", raw.format.as_ref(), defaults::LOG.format, |text| {
        value::choice(text, &formats)
    });
    Ok(LogSettings { level: level?, format: format? })
}
