//! Single values: text in, value or [`Fault`] out.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr as _,
    time::Duration,
};

use super::{
    fault::{Fault, did_you_mean},
    model::{InvalidName, InvalidPrefix, Mode, Name, PortRange, Prefix, StatusRange},
};

/// Longer than anybody means it, and far from the end of the data plane's clock.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

pub fn address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            format!("{text:?} is not an IP address"),
            if text.contains('/') {
                "write the address alone, without the prefix length"
            } else if text.parse::<SocketAddr>().is_ok() {
                "write the address alone; the port is a key of its own"
            } else {
                "write an address such as 10.0.1.11 or \"2001:db8::11\"; names are not resolved"
            },
        )
    })
}

pub fn prefix(text: &str) -> Result<Prefix, Fault> {
    text.parse().map_err(|error| match error {
        InvalidPrefix::Shape => Fault::new(
            format!("{text:?} is not a prefix of addresses"),
            "write address and length, as in 10.99.0.0/16 or \"fd00:99::/64\"",
        ),
        InvalidPrefix::HostBits(meant) => Fault::new(
            format!("{text:?} has bits set behind its prefix"),
            format!("write {meant}, or a longer prefix"),
        ),
    })
}

pub fn socket_address(text: &str) -> Result<SocketAddr, Fault> {
    let hint = "write address and port, as in 127.0.0.1:9090 or \"[::1]:9090\"";
    match SocketAddr::from_str(text) {
        Ok(socket) if socket.port() != 0 => Ok(socket),
        Ok(_) => Err(Fault::new(format!("{text:?} has the port 0"), "name the port to listen on")),
        Err(_) => Err(Fault::new(format!("{text:?} is not an address with a port"), hint)),
    }
}

pub fn port(text: &str) -> Result<u16, Fault> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Fault::new(format!("{text:?} is not a port"), "a port is a number, 1 to 65535")),
    }
}

pub fn port_range(text: &str) -> Result<PortRange, Fault> {
    let shape = || {
        let hint = "write the first and the last port, as in 15000-30000";
        Fault::new(format!("{text:?} is not a range of ports"), hint)
    };
    let (first, last) = text.split_once('-').ok_or_else(shape)?;
    let first = first.trim().parse().map_err(|_| shape())?;
    let last = last.trim().parse().map_err(|_| shape())?;
    if first < 1024 {
        return Err(Fault::new(
            format!("{text:?} begins below 1024, among the ports of system services"),
            "choose ports from 1024 on that nothing else uses, such as 15000-30000",
        ));
    }
    PortRange::new(first, last).ok_or_else(|| {
        Fault::new(
            format!("{text:?} ends before it begins"),
            format!("write the smaller port first: {last}-{first}"),
        )
    })
}

/// A number within `range`; `1_000_000` may be written so. `hint` is for one out of range.
pub fn number(text: &str, range: RangeInclusive<u32>, hint: &str) -> Result<u32, Fault> {
    let (first, last) = (range.start(), range.end());
    match text.replace('_', "").parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(number) => Err(Fault::new(format!("{number} is not within {first} to {last}"), hint)),
        Err(_) => Err(Fault::new(format!("{text:?} is not a number from {first} to {last}"), hint)),
    }
}

/// A duration of at least `least`, which is not zero.
pub fn duration(text: &str, least: Duration) -> Result<Duration, Fault> {
    let spelled = humantime::format_duration;
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err(Fault::new(
            format!("{text:?} is zero"),
            format!("choose at least {}", spelled(least)),
        )),
        Ok(duration) if duration < least => Err(Fault::new(
            format!("{text:?} is too short"),
            format!("choose at least {}", spelled(least)),
        )),
        Ok(duration) if duration > MAX_DURATION => {
            Err(Fault::new(format!("{text:?} is more than a year"), "choose a shorter time"))
        }
        Ok(duration) => Ok(duration),
        Err(_) => Err(Fault::new(
            format!("{text:?} is not a duration"),
            match text.parse::<u64>() {
                Ok(_) => format!("write the unit, as in {text}s"),
                Err(_) => "write numbers with units, as in 500ms, 10s, 1m 30s or 28h".to_owned(),
            },
        )),
    }
}

pub fn percentage(text: &str) -> Result<u8, Fault> {
    match text.strip_suffix('%').and_then(|number| number.trim().parse().ok()) {
        Some(percent @ 0..=100) => Ok(percent),
        _ => Err(Fault::new(
            format!("{text:?} is not a percentage"),
            "write a whole number from 0 to 100 and a percent sign, as in 10%",
        )),
    }
}

pub fn boolean(text: &str) -> Result<bool, Fault> {
    choice(text, &[("true", true), ("false", false)])
}

/// The value that is known by the name `text`.
pub fn choice<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Fault::new(format!("unknown value {text:?}"), did_you_mean(text, &names, "choose one of"))
    })
}

pub fn forwarding_mode(text: &str) -> Result<Mode, Fault> {
    choice(text, &Mode::ALL.map(|mode| (mode.name(), mode)))
}

pub fn name(text: &str) -> Result<Name, Fault> {
    text.parse().map_err(|error: InvalidName| {
        Fault::new(
            format!("the name {text:?} {error}"),
            "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ -",
        )
    })
}

pub fn absolute_path(text: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(text);
    if text.contains('\0') || !path.is_absolute() {
        return Err(Fault::new(
            format!("{text:?} is not an absolute path"),
            "write the whole path, beginning with a slash: a service has no current directory",
        ));
    }
    Ok(path)
}

/// Permission bits, in octal.
pub fn file_mode(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(Fault::new(
            format!("{text:?} is not a file mode"),
            "write three octal digits with a zero before them, as in \"0600\" or \"0660\"",
        )),
    }
}

/// A status of HTTP, or a range of them.
pub fn status(text: &str) -> Result<StatusRange, Fault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first @ 100..=599), Ok(last @ 100..=599)) if first <= last => {
            Ok(StatusRange { first, last })
        }
        _ => Err(Fault::new(
            format!("{text:?} is not an HTTP status"),
            "write a status from 100 to 599, or a range such as 200-299",
        )),
    }
}
