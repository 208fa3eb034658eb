//! What a metric is, and how its values become text.

use super::{process::Process, text};
use crate::control::report::{BackendReport, ServiceReport, Status};

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grow, but start again from zero.
    Counter,
    /// Go up and down.
    Gauge,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Names of all labels, those of the service and the backend included.
    pub labels: &'static [&'static str],
    pub values: Values,
}

/// Where the values come from, once or for each of many.
#[derive(Debug)]
pub(super) enum Values {
    Once(fn(&Status, &mut Samples<'_>)),
    /// The first label is the service's name.
    OfServices(fn(&ServiceReport, &mut Samples<'_>)),
    /// The first labels are the names of the service and the backend.
    OfBackends(fn(&BackendReport, &mut Samples<'_>)),
    OfProcess(fn(&Process, &mut Samples<'_>)),
}

/// A value, written without loss.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Integer(u64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl Value {
    /// A duration in microseconds, in seconds.
    pub(super) fn seconds_of_us(microseconds: u64) -> Self {
        std::time::Duration::from_micros(microseconds).as_secs_f64().into()
    }
}

/// Where a metric puts its values.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    text: &'a mut String,
    metric: &'a Metric,
    /// Values of the first labels.
    of: &'a [&'a str],
}

impl Samples<'_> {
    /// Puts a value. `labels` are the values of the labels that are not put by themselves.
    pub(super) fn put(&mut self, labels: &[&str], value: impl Into<Value>) {
        let names = self.metric.labels;
        debug_assert_eq!(names.len(), self.of.len() + labels.len(), "{}", self.metric.name);
        let labels = names.iter().copied().zip(self.of.iter().chain(labels).copied());
        text::sample(self.text, self.metric.name, labels, value.into());
    }

    /// Puts one value for each of `states`, 1 for the one that is `now` and 0 for the others.
    pub(super) fn put_state<T: Copy + PartialEq>(&mut self, states: &[(T, &str)], now: T) {
        for (state, name) in states {
            self.put(&[name], *state == now);
        }
    }
}

impl Metric {
    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        values: Values,
    ) -> Self {
        Self { name, kind: Kind::Gauge, help, labels, values }
    }

    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        values: Values,
    ) -> Self {
        Self { name, kind: Kind::Counter, help, labels, values }
    }

    /// Appends the metric with its help, its type and all of its values.
    pub(super) fn render(&self, status: &Status, process: &Process, text: &mut String) {
        text::head(text, self.name, self.kind, self.help);
        match self.values {
            Values::Once(put) => put(status, &mut Samples { text, metric: self, of: &[] }),
            Values::OfProcess(put) => put(process, &mut Samples { text, metric: self, of: &[] }),
            Values::OfServices(put) => {
                for service in &status.services {
                    let of = &[service.name.as_str()];
                    put(service, &mut Samples { text, metric: self, of });
                }
            }
            Values::OfBackends(put) => {
                for backend in status.services.iter().flat_map(|service| &service.backends) {
                    let of = &[backend.service.as_str(), backend.name.as_str()];
                    put(backend, &mut Samples { text, metric: self, of });
                }
            }
        }
    }
}
