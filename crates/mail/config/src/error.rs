//! What is wrong with a configuration, and where. Made by every part of this crate, shown by `check-config` and by a
//! reload that is refused. A message names the object, what is wrong and what would be right.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Errors that are reported for one text; a text with more is not worth listing further.
pub(crate) const ERRORS_MAX: usize = 100;

/// A place in a configuration text, counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One error or one warning: `file:line:column: [section] option: what is wrong; did you mean …?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's name as the caller gave it.
    pub file: Arc<str>,
    /// Where.
    pub position: Position,
    /// The object: `[listener.mx] max_sessions`, or empty if the text is not TOML there.
    pub object: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Something that is allowed and probably not meant. Same shape as an error; the configuration is valid.
pub type ConfigWarning = ConfigError;

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.position.line, self.position.column)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Why a value cannot be read. The caller knows the object and the place; a list knows better which of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    /// Byte offset of the culprit, when it is a part of the value.
    pub(crate) at: Option<usize>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), at: None }
    }

    /// Adds "did you mean" when there is a proposal.
    pub(crate) fn propose(mut self, proposal: Option<impl fmt::Display>) -> Problem {
        if let Some(proposal) = proposal {
            self.message.push_str(&format!("; did you mean `{proposal}`?"));
        }
        self
    }

    /// Says which part of the value is meant, unless a deeper part has been named.
    pub(crate) fn at(mut self, offset: usize) -> Problem {
        self.at.get_or_insert(offset);
        self
    }
}

/// Collects errors and warnings of one text and turns byte offsets into positions.
pub(crate) struct Reporter<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Byte offset of each line's first byte.
    line_starts: Vec<usize>,
    /// Lines that are not TOML. Whatever else is said about them would be an echo.
    broken_lines: HashSet<u32>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<ConfigWarning>,
}

impl<'t> Reporter<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Reporter<'t> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Reporter {
            file: Arc::from(file),
            text,
            line_starts,
            broken_lines: HashSet::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> u32 {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// Whether there is no room for further errors.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    pub(crate) fn error(&mut self, offset: usize, object: impl Into<String>, message: impl Into<String>) {
        if !self.is_full() && !self.broken_lines.contains(&self.line(offset)) {
            let error = self.make(offset, object.into(), message.into());
            self.errors.push(error);
        }
    }

    /// The line cannot be read as TOML.
    pub(crate) fn syntax_error(&mut self, offset: usize, problem: Problem) {
        self.error(offset, "", problem.message);
        self.broken_lines.insert(self.line(offset));
    }

    /// Whether every line could be read as TOML. If not, nothing can be called missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.broken_lines.is_empty()
    }

    pub(crate) fn problem(&mut self, offset: usize, object: impl Into<String>, problem: Problem) {
        self.error(problem.at.unwrap_or(offset), object, problem.message);
    }

    pub(crate) fn warning(&mut self, offset: usize, object: impl Into<String>, message: impl Into<String>) {
        if self.warnings.len() < ERRORS_MAX {
            let warning = self.make(offset, object.into(), message.into());
            self.warnings.push(warning);
        }
    }

    fn make(&self, offset: usize, object: String, message: String) -> ConfigError {
        let (object, message) = (shortened(object), shortened(message));
        ConfigError { file: self.file.clone(), position: self.position(offset), object, message }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.line(offset);
        let start = self.line_starts[line as usize - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        let column = u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX);
        Position { line, column }
    }
}

/// Longest object and longest message, in bytes.
const PART_MAX: usize = 1000;

fn shortened(mut text: String) -> String {
    if text.len() > PART_MAX {
        text.truncate(text.floor_char_boundary(PART_MAX));
        text.push('…');
    }
    text
}

/// At most this much of a hostile text is repeated in a message.
const QUOTED_MAX: usize = 80;

/// A piece of the text for a message: shortened, control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        short.push('…');
    }
    short
}
