//! Collects mistakes, each with its place.

use std::{borrow::Cow, cell::RefCell};

use crate::config::{error::Issue, fault::Fault, path::YamlPath, raw::Text};

/// The mistakes found so far.
#[derive(Default)]
pub struct Report(RefCell<Vec<Issue>>);

impl Report {
    /// The root of the document.
    pub fn root(&self) -> At<'_> {
        At { report: self, path: YamlPath::default() }
    }

    /// Every mistake found.
    pub fn into_issues(self) -> Vec<Issue> {
        self.0.into_inner()
    }
}

/// Stands for a value that could not be had: the mistake has been reported. The caller goes on and
/// finds the others before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// A value, or nothing because of a reported mistake.
pub type Checked<T> = Result<T, Reported>;

/// A place in the document, where mistakes can be reported.
#[derive(Clone)]
pub struct At<'r> {
    report: &'r Report,
    path: YamlPath,
}

impl At<'_> {
    /// The value of `key` in the mapping that is here.
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        Self { report: self.report, path: self.path.key(key) }
    }

    /// An item of the list that is here.
    pub fn index(&self, index: usize) -> Self {
        Self { report: self.report, path: self.path.index(index) }
    }

    /// Reports a mistake.
    pub fn reject(&self, fault: Fault) -> Reported {
        let issue = Issue { path: self.path.clone(), location: None, fault };
        self.report.0.borrow_mut().push(issue);
        Reported
    }

    /// Reports the mistake in `result`, if there is one.
    pub fn accept<T>(&self, result: Result<T, Fault>) -> Checked<T> {
        result.map_err(|fault| self.reject(fault))
    }

    /// The value of a key that must be there.
    pub fn required<T>(
        &self,
        key: &'static str,
        text: Option<&Text>,
        hint: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Checked<T> {
        let at = self.key(key);
        match text {
            Some(text) => at.accept(parse(&text.0)),
            None => Err(at.reject(Fault::new("missing", hint))),
        }
    }

    /// The value of a key, `default` if it is not there.
    pub fn defaulted<T>(
        &self,
        key: &'static str,
        text: Option<&Text>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Checked<T> {
        match text {
            Some(text) => self.key(key).accept(parse(&text.0)),
            None => Ok(default),
        }
    }

    /// The value of a key that may be left out: `None` if it is.
    pub fn optional<T>(
        &self,
        key: &'static str,
        text: Option<&Text>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Checked<Option<T>> {
        self.defaulted(key, text, None, |text| parse(text).map(Some))
    }
}
