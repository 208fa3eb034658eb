//! Lists of sources, and limits of new connections.

use std::{collections::HashSet, net::IpAddr};

use super::report::{At, Checked, Reported};
use crate::config::{
    fault::Fault,
    model::{LoadLimits, Mode, Prefix, PrefixRate, Sources, SynRate, SynRates},
    raw, rules, value,
};

const MOST_PER_SECOND: u32 = 1_000_000;
const MOST_CONNECTIONS: u32 = 100_000_000;

/// Bits of the addresses that share a rate, unless the file says so: what a site usually has.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 56;

/// `vip` is that of the service, and `around` what is denied to all services.
pub fn sources(
    at: &At,
    raw: &raw::Sources,
    vip: Option<IpAddr>,
    around: &[Prefix],
) -> Checked<Sources> {
    let mut seen = HashSet::new();
    let deny = list(&at.key("deny"), raw.deny.as_deref(), vip, &mut seen);
    let allow = list(&at.key("allow"), raw.allow.as_deref(), vip, &mut seen);
    let sources = Sources { deny: deny?, allow: allow? };
    let denied = || sources.deny.iter().chain(around);
    for (i, prefix) in sources.allow.iter().enumerate() {
        if !denied()
            .any(|denied| denied.contains(prefix.address()) && denied.bits() <= prefix.bits())
        {
            let all = if prefix.address().is_ipv4() { "0.0.0.0/0" } else { "\"::/0\"" };
            at.key("allow").index(i).reject(Fault::new(
                format!("{prefix} is an exception from nothing: it is not denied anyway"),
                format!("remove it, or, to let in nobody else, add `deny: [{all}]`"),
            ));
        }
    }
    Ok(sources)
}

fn list(
    at: &At,
    raw: Option<&[raw::Text]>,
    vip: Option<IpAddr>,
    seen: &mut HashSet<Prefix>,
) -> Checked<Vec<Prefix>> {
    let raw = raw.unwrap_or_default();
    let mut list = Vec::with_capacity(raw.len());
    for (i, text) in raw.iter().enumerate() {
        let at = at.index(i);
        let Ok(prefix) = at.accept(source(&text.0, vip)) else { continue };
        if !seen.insert(prefix) {
            let hint = "keep it in one list; of two prefixes, the longer one decides";
            at.reject(Fault::new(format!("{prefix} is listed twice"), hint));
        }
        list.push(prefix);
    }
    if list.len() == raw.len() { Ok(list) } else { Err(Reported) }
}

/// A prefix of clients' addresses, or a single one.
fn source(text: &str, vip: Option<IpAddr>) -> Result<Prefix, Fault> {
    let prefix = if text.contains('/') {
        value::prefix(text)?
    } else {
        Prefix::new(value::address(text)?, u8::MAX)
    };
    match vip.filter(|vip| vip.is_ipv4() != prefix.address().is_ipv4()) {
        Some(vip) => Err(Fault::new(
            format!("{prefix} is of {}, the VIP {vip} is not", rules::family(prefix.address())),
            "list it in `sources` of the whole balancer, or at a service of its family",
        )),
        None => Ok(prefix),
    }
}

pub fn syn_rates(at: &At, raw: &raw::SynRates, vip: Option<IpAddr>) -> Checked<SynRates> {
    let source = raw
        .source
        .as_ref()
        .map(|raw| syn_rate(&at.key("source"), raw.rate.as_ref(), raw.burst.as_ref()));
    let prefix = raw.prefix.as_ref().map(|raw| prefix_rate(&at.key("prefix"), raw, vip));
    let rates = SynRates { source: source.transpose()?, prefix: prefix.transpose()? };
    if let (Some(source), Some(prefix)) = (rates.source, rates.prefix)
        && prefix.rate.rate < source.rate
    {
        return Err(at.key("prefix").key("rate").reject(Fault::new(
            format!("{} is less than {}, the rate of one source", prefix.rate.rate, source.rate),
            "give all sources of a prefix together more than one of them",
        )));
    }
    Ok(rates)
}

fn syn_rate(at: &At, rate: Option<&raw::Text>, burst: Option<&raw::Text>) -> Checked<SynRate> {
    let hint = "give SYNs per second, as in `rate: 20`";
    let rate = at.required("rate", rate, hint, per_second);
    let hint = "so many SYNs may come at once after a pause";
    let burst = at.optional("burst", burst, |text| value::number(text, 1..=MOST_PER_SECOND, hint));
    let (rate, burst) = (rate?, burst?);
    Ok(SynRate { rate, burst: burst.unwrap_or(rate) })
}

fn prefix_rate(at: &At, raw: &raw::PrefixRate, vip: Option<IpAddr>) -> Checked<PrefixRate> {
    let v4 = vip.is_some_and(|vip| vip.is_ipv4());
    let (usual, longest) = if v4 { (PREFIX_V4, 32) } else { (PREFIX_V6, 128) };
    let bits = at.defaulted("bits", raw.bits.as_ref(), usual, |text| match text.parse() {
        Ok(bits) if (1..=longest).contains(&bits) => Ok(bits),
        _ => Err(Fault::new(
            format!("{text:?} is not the length of a prefix of the clients' addresses"),
            format!("write a number from 1 to {longest}"),
        )),
    });
    let rate = syn_rate(at, raw.rate.as_ref(), raw.burst.as_ref());
    Ok(PrefixRate { bits: bits?, rate: rate? })
}

/// What one backend may take.
pub fn load_limits(
    at: &At,
    max_new_per_second: Option<&raw::Text>,
    max_connections: Option<&raw::Text>,
    mode: Checked<Mode>,
) -> Checked<LoadLimits> {
    let new = at.optional("max_new_per_second", max_new_per_second, |text| {
        if mode.is_ok_and(Mode::is_proxied) {
            return Err(Fault::new(
                "this setting has no meaning in the mode mqtt",
                "remove it, and pace CONNECTs by `mqtt: { pacing: { backend: ... } }`",
            ));
        }
        per_second(text)
    });
    let connections = at.optional("max_connections", max_connections, |text| {
        let hint = "to send no new connections to a broker, use `mqlb backend drain`";
        let connections = value::number(text, 1..=MOST_CONNECTIONS, hint)?;
        if mode.is_ok_and(Mode::is_direct) {
            return Err(Fault::new(
                "connections are counted in `mode: nat` only: only there every one is known",
                "limit them at the broker, or use `mode: nat`",
            ));
        }
        Ok(connections)
    });
    Ok(LoadLimits { max_new_per_second: new?, max_connections: connections? })
}

fn per_second(text: &str) -> Result<u32, Fault> {
    value::number(text, 1..=MOST_PER_SECOND, "to let in none at all, deny the sources")
}
