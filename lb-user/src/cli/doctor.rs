//! `mqlb doctor`, and the same examination before `mqlb run` attaches.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    Outcome,
    args::DoctorArgs,
    failure::Failure,
    output::Output,
    table::{Cell, Table},
};
use crate::{
    config::{self, model::Config},
    datapath,
    doctor::{Finding, Severity, any_error, examine, gather},
};

/// Examines this host, and prints what is found.
pub(super) fn doctor(args: &DoctorArgs, output: Output) -> Outcome {
    let config = config::load(&args.config)?;
    let findings = findings(&config)?;
    if output.json {
        output.data(&findings)?;
    } else {
        output.table(&table(&findings))?;
        output.text(&advice(&findings))?;
    }
    // Everything has been said.
    if any_error(&findings) { Err(Failure::silent(1)) } else { Ok(()) }
}

/// Examines this host and logs what is not as it should be. Where something would break forwarding
/// it refuses, unless `force` says otherwise, or the data plane runs already: a controller that
/// stays away would only make matters worse then.
pub(super) fn before_attaching(config: &Config, force: bool) -> Outcome {
    let findings = findings(config)?;
    for Finding { severity, check, what, why, mend } in &findings {
        // `None` leaves the field out.
        let mend = mend.as_deref();
        match severity {
            Severity::Ok => tracing::debug!(check, "{what}"),
            Severity::Hint => tracing::info!(check, why, mend, "{what}"),
            Severity::Warning => tracing::warn!(check, why, mend, "{what}"),
            Severity::Error => tracing::error!(check, why, mend, "{what}"),
        }
    }
    let attached = datapath::attached_interfaces(&config.pin_dir).is_ok_and(|all| !all.is_empty());
    if !any_error(&findings) || force || attached {
        return Ok(());
    }
    Err(refusal(&findings))
}

/// What is wrong with this host, and the command that mends it, if it is one.
fn refusal(findings: &[Finding]) -> Failure {
    let wrong = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let whats: Vec<&str> = wrong.clone().map(|finding| finding.what.as_str()).collect();
    let mends: BTreeSet<_> = wrong.map(|finding| finding.mend.as_deref()).collect();
    let mend = match mends.first() {
        Some(Some(mend)) if mends.len() == 1 => mend,
        _ => "`mqlb doctor` names the commands that mend it",
    };
    let error = format!("this host would not forward: {}", whats.join("; "));
    Failure::failed(&error, format!("{mend}\n  hint: `mqlb run --force` attaches nevertheless"))
}

fn findings(config: &Config) -> Result<Vec<Finding>, Failure> {
    let host = gather(config)
        .map_err(|error| Failure::failed(&format!("examine this host: {error}"), "see dmesg"))?;
    Ok(examine(config, &host))
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["", "CHECK", "FINDING"]);
    for finding in findings {
        let severity = match finding.severity {
            Severity::Ok => Cell::good("ok"),
            Severity::Hint => Cell::text("hint"),
            Severity::Warning => Cell::warning("warning"),
            Severity::Error => Cell::bad("error"),
        };
        table.row(vec![severity, Cell::text(finding.check), Cell::text(&finding.what)]);
    }
    table
}

/// Reasons and remedies, below the table: they are too long for it. What mends several things is
/// told once.
fn advice(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut told = BTreeSet::new();
    for Finding { severity, what, why, mend, .. } in findings {
        if *severity == Severity::Ok || !told.insert((what, mend)) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{severity}: {what}\n  why: {why}");
        if let Some(mend) = mend {
            let _ = writeln!(text, "  mend: {mend}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, what: &str, mend: Option<&str>) -> Finding {
        let why = if severity == Severity::Ok { "" } else { "packets are dropped" };
        Finding {
            severity,
            check: "forwarding",
            what: what.into(),
            why: why.into(),
            mend: mend.map(Into::into),
        }
    }

    #[test]
    fn advice_names_reason_and_remedy_of_what_is_wrong_only() {
        let findings = [
            finding(Severity::Ok, "eth0 forwards", None),
            finding(Severity::Error, "eth1 does not", Some("sysctl -w net.ipv4.ip_forward=1")),
            finding(Severity::Warning, "something", None),
        ];
        assert_eq!(
            advice(&findings),
            "\nerror: eth1 does not\n  why: packets are dropped\n  mend: sysctl -w \
             net.ipv4.ip_forward=1\n\nwarning: something\n  why: packets are dropped\n"
        );
        let expected = "         CHECK       FINDING\n\
                        ok       forwarding  eth0 forwards\n\
                        error    forwarding  eth1 does not\n\
                        warning  forwarding  something\n";
        assert_eq!(table(&findings).render(false), expected);
    }
}
