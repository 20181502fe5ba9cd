//! Entries as lines, which an import reads back as they were.

use crate::entry::Entry;
use crate::import::COLUMNS;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes the line of column names.
///
/// # Errors
/// The output takes no more.
pub fn write_csv_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))
}

/// Writes an entry as CSV.
///
/// # Errors
/// The output takes no more.
pub fn write_csv_row(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let mut line = String::with_capacity(128);
    field(&mut line, &entry.key.to_string());
    let tenant = entry.scope.tenant.as_ref().map_or("", |tenant| tenant.as_str());
    for text in [tenant, entry.scope.kind.word()] {
        line.push(',');
        field(&mut line, text);
    }
    let _ = write!(line, ",{},", entry.reason);
    field(&mut line, entry.source.as_str());
    let _ = write!(line, ",{},", entry.added);
    if let Some(expires) = entry.expires {
        let _ = write!(line, "{expires}");
    }
    line.push('\n');
    out.write_all(line.as_bytes())
}

fn field(line: &mut String, text: &str) {
    if text.contains([',', '"']) || text.starts_with(' ') {
        let _ = write!(line, "\"{}\"", text.replace('"', "\"\""));
    } else {
        line.push_str(text);
    }
}

#[derive(Serialize)]
struct Row<'a> {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    kind: &'static str,
    reason: String,
    source: &'a str,
    added: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

/// Writes an entry as one line of JSON.
///
/// # Errors
/// The output takes no more.
pub fn write_json_row(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &row(entry))?;
    out.write_all(b"\n")
}

fn row(entry: &Entry) -> Row<'_> {
    Row {
        address: entry.key.to_string(),
        tenant: entry.scope.tenant.as_ref().map(|tenant| tenant.as_str()),
        kind: entry.scope.kind.word(),
        reason: entry.reason.to_string(),
        source: entry.source.as_str(),
        added: entry.added.to_string(),
        expires: entry.expires.map(|expires| expires.to_string()),
    }
}
