//! Ejection of backends that refuse clients.

use super::{
    report::{At, Checked},
    settings::TICK,
};
use crate::config::{
    defaults,
    fault::Fault,
    model::{Ejection, Mode},
    raw, value,
};

/// `None` if backends are not ejected.
pub fn ejection(
    at: &At,
    raw: Option<&raw::Ejection>,
    mode: Option<Mode>,
) -> Checked<Option<Ejection>> {
    let Some(raw) = raw else { return Ok(None) };
    if mode.is_some_and(Mode::is_direct) {
        return Err(at.reject(Fault::new(
            "ejection needs `mode: nat`: only there the answers of brokers pass by",
            "remove it, or use `mode: nat`",
        )));
    }
    let default = defaults::EJECTION;
    let share = |text: &str| match value::percentage(text)? {
        0 => Err(Fault::new("0% is none", "choose 1% to 100%, or remove `ejection`")),
        percent => Ok(percent),
    };
    let time = |text: &str| value::duration(text, TICK);
    let refused = at.defaulted("refused", raw.refused.as_ref(), default.refused_percent, share);
    let hint = "choose how many answers in an interval are enough to judge, 1 to 1000000";
    let min_connects =
        at.defaulted("min_connects", raw.min_connects.as_ref(), default.min_connects, |text| {
            value::number(text, 1..=1_000_000, hint)
        });
    let interval = at.defaulted("interval", raw.interval.as_ref(), default.interval, time);
    let eject_for = at.defaulted("eject_for", raw.eject_for.as_ref(), default.eject_for, time);
    let longest = eject_for.map_or(default.max_eject_for, |time| time.max(default.max_eject_for));
    let max_eject_for = at.defaulted("max_eject_for", raw.max_eject_for.as_ref(), longest, time);
    let max_ejected =
        at.defaulted("max_ejected", raw.max_ejected.as_ref(), default.max_ejected_percent, share);
    let (eject_for, max_eject_for) = (eject_for?, max_eject_for?);
    if max_eject_for < eject_for {
        let spelled = humantime::format_duration;
        at.key("max_eject_for").reject(Fault::new(
            format!("{} is shorter than eject_for, {}", spelled(max_eject_for), spelled(eject_for)),
            "lengthen it, or shorten eject_for",
        ));
    }
    Ok(Some(Ejection {
        refused_percent: refused?,
        min_connects: min_connects?,
        interval: interval?,
        eject_for,
        max_eject_for,
        max_ejected_percent: max_ejected?,
    }))
}
