//! What is wrong with a rule file, and where; and the readers of single values that find it out. Used by `parse` only.

use crate::quantity::{duration, excerpt};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Errors that are reported for one set of files.
const ERRORS_MAX: usize = 100;

/// One error: `file:line:column: [object] what is wrong and what would be right`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The file's name as the caller gave it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What it is about: `rule "name"`, or empty if the text is not TOML there.
    pub object: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The errors of a set of files, by place; at least one, at most 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleErrors(pub Vec<RuleError>);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for RuleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleError {}
impl std::error::Error for RuleErrors {}

/// Collects the errors of one file.
pub(crate) struct Report<'t> {
    pub(crate) file: Arc<str>,
    text: &'t str,
    pub(crate) errors: Vec<RuleError>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        Self { file: file.into(), text, errors: vec![] }
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() as u32 + 1
    }

    pub(crate) fn error(&mut self, offset: usize, object: &str, message: impl Into<String>) {
        if self.errors.len() >= ERRORS_MAX {
            return;
        }
        let offset = self.text.floor_char_boundary(offset);
        let line_start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let column = self.text[line_start..offset].chars().count() as u32 + 1;
        let (file, line) = (self.file.clone(), self.line(offset));
        self.errors.push(RuleError { file, line, column, object: object.to_owned(), message: message.into() });
    }
}

/// A table while it is read: each key that is asked for is known, the others are errors.
pub(crate) struct Section<'d> {
    pub(crate) object: String,
    pub(crate) at: usize,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(crate) fn new(object: String, at: usize, table: &'d DeTable<'d>) -> Self {
        Self { object, at, table, known: vec![] }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'d str, usize, &'d Spanned<DeValue<'d>>)> + use<'d> {
        self.table.iter().map(|(name, value)| (&**name.get_ref(), name.span().start, value))
    }

    /// Reports a value that is not what it should be.
    pub(crate) fn wrong(&self, report: &mut Report<'_>, at: usize, key: &str, message: impl fmt::Display) {
        report.error(at, &self.object, format!("{key}: {message}"));
    }

    pub(crate) fn string(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<(&'d str, usize)> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(report, value.span().start, key, format_args!("{} is not a text", told(value)));
        }
        text.map(|text| (text, value.span().start))
    }

    pub(crate) fn strings(&mut self, report: &mut Report<'_>, key: &'static str) -> Vec<(&'d str, usize)> {
        let Some(value) = self.value(key) else { return vec![] };
        let at = value.span().start;
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(report, at, key, format_args!("{} is not a list of texts", told(value)));
            return vec![];
        };
        if list.is_empty() {
            self.wrong(report, at, key, "an empty list matches nothing; leave it out to match everything");
        }
        let mut texts = vec![];
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span().start)),
                None => self.wrong(report, item.span().start, key, format_args!("{} is not a text", told(item))),
            }
        }
        texts
    }

    /// A text that `read` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<(T, usize)> {
        let (text, at) = self.string(report, key)?;
        match read(text) {
            Ok(value) => Some((value, at)),
            Err(message) => {
                self.wrong(report, at, key, message);
                None
            }
        }
    }

    /// A duration of 1 s to `max`.
    pub(crate) fn duration(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        max: Duration,
    ) -> Option<(Duration, usize)> {
        self.parsed(report, key, |text| bounded_duration(text, max))
    }

    pub(crate) fn integer(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        range: (i64, i64),
    ) -> Option<(i64, usize)> {
        let value = self.value(key)?;
        let at = value.span().start;
        match integer(value.get_ref(), range) {
            Ok(number) => Some((number, at)),
            Err(message) => {
                self.wrong(report, at, key, message);
                None
            }
        }
    }

    /// A number above 0 and below 1, in millionths.
    pub(crate) fn fraction(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.get_ref().as_float().and_then(|float| float.as_str().parse::<f64>().ok());
        let millionths = number.map(|number| (number * 1e6).round()).filter(|part| (1.0..1e6).contains(part));
        if millionths.is_none() {
            self.wrong(report, value.span().start, key, format_args!("{} is not between 0.0 and 1.0", told(value)));
        }
        millionths.map(|part| part as u32)
    }

    pub(crate) fn flag(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if value.get_ref().as_bool().is_none() {
            self.wrong(report, value.span().start, key, format_args!("{} is not true or false", told(value)));
        }
        value.get_ref().as_bool()
    }

    pub(crate) fn table(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<Section<'d>> {
        let value = self.value(key)?;
        let at = value.span().start;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(format!("{}: {key}", self.object), at, table)),
            None => {
                self.wrong(report, at, key, format_args!("{} is not a table", told(value)));
                None
            }
        }
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        for (name, value) in self.table.iter() {
            let name_text: &str = name.get_ref();
            if !self.known.contains(&name_text) {
                let near = self.known.iter().filter(|known| strsim::damerau_levenshtein(known, name_text) <= 2).min();
                let proposal = near.map_or(String::new(), |known| format!("; did you mean `{known}`?"));
                let at = name.span().start.min(value.span().start);
                report.error(at, &self.object, format!("unknown key `{}`{proposal}", excerpt(name_text)));
            }
        }
    }
}

/// An integer of a range.
pub(crate) fn integer(value: &DeValue<'_>, (min, max): (i64, i64)) -> Result<i64, String> {
    let number = value
        .as_integer()
        .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok())
        .filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("not a whole number from {min} to {max}"))
}

/// A duration of 1 s to `max`.
pub(crate) fn bounded_duration(text: &str, max: Duration) -> Result<Duration, String> {
    match duration(text) {
        None => Err(format!("\"{}\" is not a duration; write \"30m\" or \"1d12h\"", excerpt(text))),
        Some(value) if value.is_zero() => Err("a duration of nothing does nothing; write at least \"1s\"".to_owned()),
        Some(value) if value > max => {
            let max = crate::quantity::duration_text(max);
            Err(format!("\"{}\" is longer than \"{max}\", the most that may stand here", excerpt(text)))
        }
        Some(value) => Ok(value),
    }
}

/// A value's kind, for messages.
fn told(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::String(text) => format!("\"{}\"", excerpt(text)),
        other => format!("a {}", other.type_str()),
    }
}
