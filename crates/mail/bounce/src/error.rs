//! What is wrong with a rule file, and where. A message names the rule, what is wrong and what would be right.

use crate::rule::Place;
use std::fmt;
use std::sync::Arc;

/// Faults that are reported for one file.
const ERRORS_MAX: usize = 100;
/// Octets of a message.
const MESSAGE_MAX: usize = 600;

/// One fault: `file:line:column: [rule.NAME] key: what is wrong and what would be right`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Where.
    pub place: Place,
    /// `[rule.NAME] key`, or empty if the text is no TOML there.
    pub object: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for RuleError {}

/// Collects the faults of one text and turns byte offsets into places.
pub(crate) struct ErrorList<'t> {
    file: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    errors: Vec<RuleError>,
}

impl<'t> ErrorList<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { file: file.into(), text, line_starts, errors: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: self.file.clone(), line: number(line), column: number(before.chars().count() + 1) }
    }

    /// At the bound further faults are counted by nobody: a file with a hundred is not worth listing on.
    pub(crate) fn add(&mut self, offset: usize, object: &str, mut message: String) {
        if self.errors.len() < ERRORS_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_MAX));
            self.errors.push(RuleError { place: self.place(offset), object: object.into(), message });
        }
    }

    /// The faults, by place.
    pub(crate) fn finish(mut self) -> Vec<RuleError> {
        self.errors.sort_by_key(|error| (error.place.line, error.place.column));
        self.errors
    }
}

/// A piece of hostile text for a message: shortened, control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The known name that was probably meant.
pub(crate) fn nearest<'c>(name: &str, known: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&lower, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(lower.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
