//! Lengths, names and left-overs: a ratchet. The numbers below may only go down.

use crate::run::{output, root};

/// Longest file in lines, tests at its end apart.
const FILE_LINES_MAX: usize = 600;

/// How many files may be longer than 400 lines.
const FILES_OVER_400_MAX: usize = 40;

/// How many "to do" notes there may be.
const NOTES_MAX: usize = 0;

/// Names that say that a thing has not been found yet.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Checks every Rust file that git knows.
pub(crate) fn check() -> Result<(), String> {
    let files = output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])?;
    let (mut wrong, mut long, mut notes) = (Vec::new(), 0, 0);
    for file in files.lines() {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
        if EMPTY_NAMES.contains(&stem) {
            wrong.push(format!("{file}: `{stem}` names no noun"));
        }
        if !text.starts_with("//!") && !text.starts_with("#!") {
            wrong.push(format!("{file}: does not begin with a //! that says what it is"));
        }
        notes += text.matches(concat!("TO", "DO")).count();
        let lines = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or("").lines().count();
        long += usize::from(lines > 400);
        let test = file.ends_with("/tests.rs")
            || file.contains("/tests/")
            || file.contains("/benches/")
            || file.starts_with("acceptance/");
        if lines > FILE_LINES_MAX && !test {
            wrong.push(format!("{file}: {lines} lines, {FILE_LINES_MAX} are the most"));
        }
    }
    if long > FILES_OVER_400_MAX {
        wrong.push(format!("{long} files are longer than 400 lines; {FILES_OVER_400_MAX} are allowed"));
    }
    if notes > NOTES_MAX {
        wrong.push(format!("{notes} notes of work to do; {NOTES_MAX} are allowed"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
