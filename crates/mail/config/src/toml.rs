//! The TOML front: text to a list of sections with their entries, each with its place. It goes on after an error, so that
//! one run reports all of them. Used by `assemble.rs` only; knows nothing of options.
//!
//! The result is flat (path, entries) instead of a tree: what a path means is decided once, by whoever knows sections.
//! Depth, key length and text length are bounded, so hostile text costs linear time and little stack.

use std::borrow::Cow;
use std::collections::HashMap;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, ValidateWhitespace};
use toml_parser::{Expected, ParseError, Source};

use crate::error::{Problem, Reporter, quoted};
use crate::value::toml_string;

/// Longest text in bytes. A configuration of 100,000 domains has about 20 MB.
const TEXT_MAX: usize = 64 << 20;
/// Deepest nesting of lists and inline tables.
const NESTING_MAX: u32 = 8;
/// Most parts of one dotted key; the deepest scope has six.
const KEY_PARTS_MAX: usize = 8;
/// Longest part of a key in bytes: a pattern may be long, a name is not.
const KEY_MAX: usize = 1024;

/// Something and its byte offset in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

/// One part of a dotted key.
pub(crate) type Key = Placed<String>;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Placed<Item>>),
    Table(Vec<Entry>),
    /// A kind that no option has: the text names it.
    Other(&'static str),
}

impl Item {
    /// For "found …".
    pub(crate) fn describe(&self) -> String {
        match self {
            Item::Text(text) => format!("the string \"{}\"", quoted(text)),
            Item::Integer(number) => format!("the number {number}"),
            Item::Boolean(flag) => format!("the boolean {flag}"),
            Item::List(_) => "a list".to_owned(),
            Item::Table(_) => "a table".to_owned(),
            Item::Other(kind) => format!("a {kind}"),
        }
    }
}

/// `key.key = value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) keys: Vec<Key>,
    pub(crate) item: Item,
    /// Offset of the value.
    pub(crate) at: usize,
}

/// `[path.path]` and what follows it. The first section of a document has an empty path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) path: Vec<Key>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) at: usize,
}

/// A path as it is written: parts that need it are quoted.
pub(crate) fn written(path: &[Key]) -> String {
    let parts: Vec<String> = path.iter().map(|key| written_part(&key.value)).collect();
    parts.join(".")
}

/// One part of a path as it is written.
pub(crate) fn written_part(part: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !part.is_empty() && part.bytes().all(bare) { part.to_owned() } else { toml_string(part) }
}

/// Reads a text. Errors go to `report`; what could be read is returned all the same, for the errors in it.
pub(crate) fn sections(text: &str, report: &mut Reporter<'_>) -> Vec<Section> {
    if text.len() > TEXT_MAX {
        report.error(0, "", format!("the text has {} bytes; at most {TEXT_MAX} are read", text.len()));
        return Vec::new();
    }
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut faults: Vec<ParseError> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(tokens.len());
    {
        let mut keep_some = |fault: ParseError| {
            if faults.len() <= crate::error::ERRORS_MAX {
                faults.push(fault);
            }
        };
        let mut whitespace = ValidateWhitespace::new(&mut events, source);
        let mut guard = RecursionGuard::new(&mut whitespace, NESTING_MAX);
        toml_parser::parser::parse_document(&tokens, &mut guard, &mut keep_some);
    }
    drop(tokens);
    let mut reader = Reader { source, events: &events, next: 0, faults };
    let sections = reader.document();
    report_faults(reader.faults, report);
    report_repeated_headers(&sections, report);
    sections
}

/// Walks the events.
struct Reader<'t> {
    source: Source<'t>,
    events: &'t [Event],
    next: usize,
    faults: Vec<ParseError>,
}

impl Reader<'_> {
    fn document(&mut self) -> Vec<Section> {
        let mut sections = vec![Section { path: Vec::new(), entries: Vec::new(), at: 0 }];
        while let Some(event) = self.take() {
            match event.kind() {
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    let path = self.header();
                    let at = path.first().map_or(event.span().start(), |key| key.at);
                    if event.kind() == EventKind::ArrayTableOpen {
                        let name = written(&path);
                        self.fault(
                            event,
                            format!("sections have names instead of being repeated; write [{name}.NAME]"),
                        );
                    }
                    sections.push(Section { path, entries: Vec::new(), at });
                }
                EventKind::SimpleKey => {
                    if let (Some(entry), Some(section)) = (self.entry(event), sections.last_mut()) {
                        section.entries.push(entry);
                    }
                }
                _ => {}
            }
        }
        sections
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.events.get(self.next).copied()?;
        self.next += 1;
        Some(event)
    }

    /// The next event that is not blank.
    fn take_solid(&mut self) -> Option<Event> {
        loop {
            let event = self.take()?;
            if !matches!(event.kind(), EventKind::Whitespace | EventKind::Comment | EventKind::Newline) {
                return Some(event);
            }
        }
    }

    fn header(&mut self) -> Vec<Key> {
        let mut path = Vec::new();
        while let Some(event) = self.events.get(self.next).copied() {
            match event.kind() {
                EventKind::SimpleKey => {
                    self.next += 1;
                    path = self.key(event);
                }
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    self.next += 1;
                    break;
                }
                EventKind::Newline => break,
                _ => self.next += 1,
            }
        }
        path
    }

    /// The parts of a dotted key of which `first` is the first.
    fn key(&mut self, first: Event) -> Vec<Key> {
        let mut parts = vec![self.key_part(first)];
        let mut excess = false;
        while let Some(event) = self.events.get(self.next).copied() {
            match event.kind() {
                EventKind::Whitespace | EventKind::KeySep => self.next += 1,
                EventKind::SimpleKey => {
                    self.next += 1;
                    if parts.len() < KEY_PARTS_MAX {
                        parts.push(self.key_part(event));
                    } else if !excess {
                        excess = true;
                        self.fault(event, format!("the key has more than {KEY_PARTS_MAX} parts"));
                    }
                }
                _ => break,
            }
        }
        parts
    }

    fn key_part(&mut self, event: Event) -> Key {
        let at = event.span().start();
        let mut name = Cow::Borrowed("");
        if event.span().len() > KEY_MAX {
            self.fault(event, format!("the key is longer than {KEY_MAX} bytes"));
        } else if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut name, &mut self.faults);
        }
        Placed { value: name.into_owned(), at }
    }

    fn entry(&mut self, first: Event) -> Option<Entry> {
        let keys = self.key(first);
        let separator = self.events.get(self.next).copied()?;
        if separator.kind() != EventKind::KeyValSep {
            return None;
        }
        self.next += 1;
        let start = self.take_solid()?;
        let item = self.item(start)?;
        Some(Entry { keys, item, at: start.span().start() })
    }

    fn item(&mut self, first: Event) -> Option<Item> {
        match first.kind() {
            EventKind::Scalar => Some(self.scalar(first)),
            EventKind::ArrayOpen => Some(self.list()),
            EventKind::InlineTableOpen => Some(self.table()),
            _ => None,
        }
    }

    fn scalar(&mut self, event: Event) -> Item {
        let mut text = Cow::Borrowed("");
        let Some(raw) = self.source.get(event) else { return Item::Other("value") };
        match raw.decode_scalar(&mut text, &mut self.faults) {
            ScalarKind::String => Item::Text(text.into_owned()),
            ScalarKind::Boolean(flag) => Item::Boolean(flag),
            ScalarKind::Integer(radix) => match i64::from_str_radix(&text, radix.value()) {
                Ok(number) => Item::Integer(number),
                Err(_) => {
                    self.fault(event, "the number is too large".to_owned());
                    Item::Other("number")
                }
            },
            ScalarKind::Float => Item::Other("fraction"),
            ScalarKind::DateTime => Item::Other("date"),
        }
    }

    fn list(&mut self) -> Item {
        let mut elements = Vec::new();
        while let Some(event) = self.take_solid() {
            if event.kind() == EventKind::ArrayClose {
                break;
            }
            if let Some(item) = self.item(event) {
                elements.push(Placed { value: item, at: event.span().start() });
            }
        }
        Item::List(elements)
    }

    fn table(&mut self) -> Item {
        let mut entries = Vec::new();
        while let Some(event) = self.take_solid() {
            match event.kind() {
                EventKind::InlineTableClose => break,
                EventKind::SimpleKey => entries.extend(self.entry(event)),
                _ => {}
            }
        }
        Item::Table(entries)
    }

    fn fault(&mut self, event: Event, message: String) {
        if self.faults.len() <= crate::error::ERRORS_MAX {
            self.faults.push(ParseError::new(message).with_unexpected(event.span()));
        }
    }
}

/// One error a line: what follows the first is mostly its echo.
fn report_faults(faults: Vec<ParseError>, report: &mut Reporter<'_>) {
    let offset = |fault: &ParseError| fault.unexpected().or(fault.context()).map_or(0, |span| span.start());
    let mut faults = faults;
    faults.sort_by_key(offset);
    let mut last_line = 0;
    for fault in faults {
        let at = offset(&fault);
        if report.line(at) != last_line {
            last_line = report.line(at);
            report.syntax_error(at, Problem::new(describe(&fault)));
        }
    }
}

fn describe(fault: &ParseError) -> String {
    let mut message = fault.description().to_owned();
    if message == "string values must be quoted" && fault.unexpected().is_some_and(|span| span.is_empty()) {
        return "there is no value behind the =".to_owned();
    }
    let literal = |expected: &Expected| match expected {
        Expected::Literal("\n") => Some("a line end".to_owned()),
        Expected::Literal(text) => Some(format!("`{text}`")),
        _ => None,
    };
    let expected: Vec<String> = fault.expected().unwrap_or_default().iter().filter_map(literal).collect();
    if !expected.is_empty() {
        message.push_str(&format!(", expected {}", expected.join(" or ")));
    }
    message
}

/// TOML wants each section once.
fn report_repeated_headers(sections: &[Section], report: &mut Reporter<'_>) {
    let mut seen: HashMap<Vec<&str>, usize> = HashMap::new();
    for section in sections.iter().skip(1).filter(|section| !section.path.is_empty()) {
        let path: Vec<&str> = section.path.iter().map(|key| key.value.as_str()).collect();
        let first = *seen.entry(path).or_insert(section.at);
        if first != section.at {
            let line = report.line(first);
            let name = written(&section.path);
            report.error(
                section.at,
                format!("[{name}]"),
                format!("the section is here twice; it began on line {line}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Section>, Vec<String>) {
        let mut report = Reporter::new("t", text);
        let sections = sections(text, &mut report);
        (sections, report.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sections_keep_their_entries_and_places() {
        let (sections, errors) = read("a = 1\n[x.\"*.y\"]\n b.c = [\"d\", 2] # e\n[z]\nt = { u = true }\n");
        assert_eq!(errors, [""; 0]);
        let paths: Vec<String> = sections.iter().map(|section| written(&section.path)).collect();
        assert_eq!(paths, ["", "x.\"*.y\"", "z"]);
        assert_eq!(sections[0].entries[0].item, Item::Integer(1));
        assert_eq!(written(&sections[1].entries[0].keys), "b.c");
        assert!(matches!(&sections[1].entries[0].item, Item::List(elements) if elements.len() == 2));
        assert!(matches!(&sections[2].entries[0].item, Item::Table(entries) if entries[0].item == Item::Boolean(true)));
    }

    #[test]
    fn all_faults_are_reported() {
        let (_, errors) = read("a = \nb = \"x\n[c\nd = 1 2\ne = 99999999999999999999\n");
        let lines: Vec<&str> = errors.iter().map(|error| error.split(':').nth(1).unwrap()).collect();
        assert_eq!(lines, ["1", "2", "3", "4", "5"], "{errors:#?}");
    }
}
