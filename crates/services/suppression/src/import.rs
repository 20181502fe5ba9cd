//! Lines of an import: CSV or JSON, one entry a line, in bounded memory. Every bad line is told with its number.
//!
//! A line is a line of the file: no field of an entry may hold a line end, so that a quote that is never closed spoils
//! its own line and not the rest of the file.

use crate::address::Key;
use crate::entry::{Entry, Label, Reason, Scope, Second};
use crate::text::{parse_kind, parse_reason, parse_second};
use csv_core::{ReadRecordResult, Reader};
use serde::Deserialize;
use std::fmt;
use std::io::{self, BufRead, Read as _};

/// Longest line, octets.
const LINE_MAX: usize = 8 << 10;
/// Longest explanation of a bad line, characters.
const WRONG_MAX: usize = 300;
/// Columns of a CSV file, in the order of an export, and of a file without a line of names.
pub(crate) const COLUMNS: [&str; 7] = ["address", "tenant", "kind", "reason", "source", "added", "expires"];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180); the first line may name the columns.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// What an entry has that its line does not give.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Why.
    pub reason: Reason,
    /// Who added it.
    pub source: Label,
    /// Where it holds.
    pub scope: Scope,
    /// Since when.
    pub added: Second,
}

/// What is wrong with a line; one sentence part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(Box<str>);

impl BadLine {
    fn new(wrong: impl fmt::Display) -> Self {
        // Words of the file may be quoted in it, and end up on a terminal.
        let text = wrong.to_string();
        let safe = text.chars().take(WRONG_MAX).map(|c| if c.is_control() { ' ' } else { c });
        Self(safe.collect::<String>().into())
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLine {}

/// One line that should be an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// The entry, or what is wrong.
    pub entry: Result<Entry, BadLine>,
}

/// The fields of an entry as a line has them; empty is absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    address: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    tenant: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<std::borrow::Cow<'a, str>>,
    added: Option<Time<'a>>,
    expires: Option<Time<'a>>,
}

/// A time is a number or a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time<'a> {
    Seconds(u64),
    #[serde(borrow)]
    Text(std::borrow::Cow<'a, str>),
}

impl Time<'_> {
    fn read(&self) -> Result<Option<Second>, BadLine> {
        match self {
            Self::Seconds(seconds) => parse_second(&seconds.to_string()).map(Some).map_err(BadLine::new),
            Self::Text(text) if text.is_empty() => Ok(None),
            Self::Text(text) => parse_second(text).map(Some).map_err(BadLine::new),
        }
    }
}

impl Row<'_> {
    fn entry(&self, defaults: &Defaults) -> Result<Entry, BadLine> {
        fn given<'a>(field: &'a Option<std::borrow::Cow<'_, str>>) -> Option<&'a str> {
            field.as_deref().map(str::trim).filter(|text| !text.is_empty())
        }
        let address = given(&self.address).ok_or_else(|| BadLine::new("no address"))?;
        let label = |text: &str, what: &str| Label::new(text).map_err(|error| BadLine::new(format!("{what}: {error}")));
        let kind = given(&self.kind).map(parse_kind).transpose().map_err(BadLine::new)?;
        let tenant = given(&self.tenant).map(|text| label(text, "tenant")).transpose()?;
        let time = |time: &Option<Time<'_>>| time.as_ref().map_or(Ok(None), Time::read);
        Ok(Entry {
            key: Key::parse(address).map_err(BadLine::new)?,
            scope: Scope {
                tenant: tenant.or_else(|| defaults.scope.tenant.clone()),
                kind: kind.unwrap_or(defaults.scope.kind),
            },
            reason: given(&self.reason).map(parse_reason).transpose().map_err(BadLine::new)?.unwrap_or(defaults.reason),
            source: match given(&self.source) {
                Some(text) => label(text, "source")?,
                None => defaults.source.clone(),
            },
            added: time(&self.added)?.unwrap_or(defaults.added),
            expires: time(&self.expires)?,
        })
    }
}

/// Reads the lines of a file one by one.
pub struct Lines<R> {
    input: R,
    format: Format,
    defaults: Defaults,
    number: u64,
    line: Vec<u8>,
    /// Which column each field is; found on the first line.
    columns: Option<Vec<usize>>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`.
    pub fn new(input: R, format: Format, defaults: Defaults) -> Self {
        Self { input, format, defaults, number: 0, line: Vec::new(), columns: None }
    }

    /// The next line that should be an entry; empty lines are passed over. `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some(fits) = self.read()? else { return Ok(None) };
            let number = self.number;
            let entry = match fits {
                Fits::Yes => match self.entry() {
                    Some(entry) => entry,
                    None => continue,
                },
                Fits::No => Err(BadLine::new(format!("line is longer than {LINE_MAX} octets"))),
            };
            return Ok(Some(Line { number, entry }));
        }
    }

    /// Reads one line into `line`, without its end; of one that is too long, the rest is passed over.
    fn read(&mut self) -> io::Result<Option<Fits>> {
        self.line.clear();
        self.number += 1;
        let limit = LINE_MAX as u64 + 2;
        if self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let mut fits = Fits::Yes;
        while self.line.len() as u64 == limit && self.line.last() != Some(&b'\n') {
            fits = Fits::No;
            self.line.clear();
            self.input.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        }
        while matches!(self.line.last(), Some(b'\r' | b'\n')) {
            self.line.pop();
        }
        if self.line.len() > LINE_MAX {
            fits = Fits::No;
        }
        Ok(Some(fits))
    }

    /// The entry of the present line; `None` if it has none to give.
    fn entry(&mut self) -> Option<Result<Entry, BadLine>> {
        let line = self.line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(&self.line);
        let text = match std::str::from_utf8(line) {
            Ok(text) if text.trim().is_empty() => return None,
            Ok(text) => text,
            Err(_) => return Some(Err(BadLine::new("line is not UTF-8"))),
        };
        match self.format {
            Format::JsonLines => Some(from_json(text, &self.defaults)),
            Format::Csv => {
                let fields = match fields(text) {
                    Ok(fields) => fields,
                    Err(wrong) => return Some(Err(wrong)),
                };
                let Some(columns) = &self.columns else {
                    return match names(&fields) {
                        Ok(Some(columns)) => {
                            self.columns = Some(columns);
                            None
                        }
                        Ok(None) => {
                            let columns = (0..COLUMNS.len()).collect::<Vec<_>>();
                            let entry = from_fields(&fields, &columns, &self.defaults);
                            self.columns = Some(columns);
                            Some(entry)
                        }
                        Err(wrong) => {
                            // What follows is read by the usual columns, and told if it does not fit them.
                            self.columns = Some((0..COLUMNS.len()).collect());
                            Some(Err(wrong))
                        }
                    };
                };
                Some(from_fields(&fields, columns, &self.defaults))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    Yes,
    No,
}

fn from_json(text: &str, defaults: &Defaults) -> Result<Entry, BadLine> {
    let row: Row<'_> = serde_json::from_str(text).map_err(|error| BadLine::new(format!("no such object: {error}")))?;
    row.entry(defaults)
}

/// The columns that a first line names; `None` if it has an address, and thus no names.
fn names(fields: &[String]) -> Result<Option<Vec<usize>>, BadLine> {
    if fields.first().is_some_and(|field| field.contains('@')) {
        return Ok(None);
    }
    let mut columns = Vec::new();
    for field in fields {
        let name = field.trim().to_ascii_lowercase();
        let column = COLUMNS.iter().position(|column| *column == name);
        let column = column.ok_or_else(|| {
            BadLine::new(format!("no column is called `{}`; there are {}", quoted(&name), COLUMNS.join(", ")))
        })?;
        if columns.contains(&column) {
            return Err(BadLine::new(format!("column `{name}` is there twice")));
        }
        columns.push(column);
    }
    if columns.contains(&0) { Ok(Some(columns)) } else { Err(BadLine::new("no column is called `address`")) }
}

fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn from_fields(fields: &[String], columns: &[usize], defaults: &Defaults) -> Result<Entry, BadLine> {
    if fields.len() > columns.len() {
        return Err(BadLine::new(format!("{} fields where there are {} columns", fields.len(), columns.len())));
    }
    let mut row = Row::default();
    for (field, column) in fields.iter().zip(columns) {
        let text = std::borrow::Cow::Borrowed(field.as_str());
        match COLUMNS[*column] {
            "address" => row.address = Some(text),
            "tenant" => row.tenant = Some(text),
            "kind" => row.kind = Some(text),
            "reason" => row.reason = Some(text),
            "source" => row.source = Some(text),
            "added" => row.added = Some(Time::Text(text)),
            _ => row.expires = Some(Time::Text(text)),
        }
    }
    row.entry(defaults)
}

/// The fields of one line.
fn fields(line: &str) -> Result<Vec<String>, BadLine> {
    if has_open_quote(line) {
        return Err(BadLine::new("a quote is not closed"));
    }
    let mut reader = Reader::new();
    let (mut out, mut ends) = (vec![0; line.len() + 1], vec![0; line.len() + 2]);
    let (mut read, mut written, mut count) = (0, 0, 0);
    loop {
        let (result, used, wrote, ended) =
            reader.read_record(&line.as_bytes()[read..], &mut out[written..], &mut ends[count..]);
        (read, written, count) = (read + used, written + wrote, count + ended);
        match result {
            // All has been read: the next call, with nothing, ends the record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => break,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                return Err(BadLine::new("line has too many fields"));
            }
        }
    }
    let mut start = 0;
    let mut fields = Vec::with_capacity(count);
    for end in &ends[..count] {
        let field = std::str::from_utf8(&out[start..*end]).map_err(|_| BadLine::new("line is not UTF-8"))?;
        fields.push(field.to_owned());
        start = *end;
    }
    Ok(fields)
}

/// Whether a quoted field of the line has no end.
fn has_open_quote(line: &str) -> bool {
    let mut rest = line.as_bytes();
    loop {
        match rest.first() {
            Some(b'"') => {
                rest = &rest[1..];
                loop {
                    match rest.iter().position(|octet| *octet == b'"') {
                        None => return true,
                        Some(at) if rest.get(at + 1) == Some(&b'"') => rest = &rest[at + 2..],
                        Some(at) => {
                            rest = &rest[at + 1..];
                            break;
                        }
                    }
                }
            }
            Some(_) => {}
            None => return false,
        }
        match rest.iter().position(|octet| *octet == b',') {
            Some(at) => rest = &rest[at + 1..],
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests;
