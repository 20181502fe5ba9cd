//! Whom a rule is about and which replies it counts: the keys `domains`, `sites`, `bindings`, `tenants`, `phase`, `codes`,
//! `enhanced` and `text`.

use crate::quantity::excerpt;
use crate::report::{Report, Section};
use crate::rule::{CodePattern, EnhancedPattern, NamePattern, Replies};
use crate::scope::NAME_MAX;
use message::Stage;
use regex::{Regex, RegexBuilder};

/// Longest pattern, octets.
const PATTERN_MAX: usize = 1_000;
/// What a compiled pattern may take, octets.
const PROGRAM_MAX: usize = 256 << 10;
/// Most names in a list.
const NAMES_MAX: usize = 10_000;

/// The words of `phase` and the stages that they mean.
const PHASES: [(&str, &[Stage]); 9] = [
    ("connect", &[Stage::NotConnected]),
    ("greeting", &[Stage::Banner]),
    ("ehlo", &[Stage::DuringEhlo, Stage::AfterEhlo]),
    ("tls", &[Stage::DuringStartTls, Stage::AfterStartTls, Stage::TlsHandshake]),
    ("mail", &[Stage::DuringMail, Stage::AfterMail]),
    ("rcpt", &[Stage::DuringRcpt, Stage::AfterRcpt]),
    ("data", &[Stage::DuringData, Stage::AfterData]),
    ("body", &[Stage::SendingBody, Stage::ReadingConfirmation]),
    ("report", &[Stage::OutOfBand]),
];

/// The first stage that a word of `phase` means.
pub fn stage_of_phase(word: &str) -> Option<Stage> {
    PHASES.iter().find(|(name, _)| *name == word).map(|(_, stages)| stages[0])
}

/// A list of domain patterns: a name, `*.name` or `*`.
pub(crate) fn domains(section: &mut Section<'_>, report: &mut Report<'_>, key: &'static str) -> Vec<NamePattern> {
    names(section, report, key, |text| match text.strip_prefix('*') {
        Some("") => Some(NamePattern::Any),
        Some(end) => (end.starts_with('.') && is_name(&end[1..])).then(|| NamePattern::Below(end.into())),
        None => is_name(text).then(|| NamePattern::Exact(text.into())),
    })
}

/// A list of patterns of bindings or tenants: a name, `prefix*` or `*`.
pub(crate) fn labels(section: &mut Section<'_>, report: &mut Report<'_>, key: &'static str) -> Vec<NamePattern> {
    names(section, report, key, |text| match text.strip_suffix('*') {
        Some("") => Some(NamePattern::Any),
        Some(start) => is_label(start).then(|| NamePattern::Prefix(start.into())),
        None => is_label(text).then(|| NamePattern::Exact(text.into())),
    })
}

fn names(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Option<NamePattern>,
) -> Vec<NamePattern> {
    let texts = section.strings(report, key);
    if let Some((_, at)) = texts.get(NAMES_MAX) {
        section.wrong(report, *at, key, format_args!("more than {NAMES_MAX} names"));
    }
    let mut patterns = vec![];
    for (text, at) in texts.into_iter().take(NAMES_MAX) {
        match read(&text.to_ascii_lowercase()) {
            Some(pattern) => patterns.push(pattern),
            None => {
                let message = format!("\"{}\" is not a pattern; write {}", excerpt(text), notation(key));
                section.wrong(report, at, key, message);
            }
        }
    }
    patterns
}

fn notation(key: &str) -> &'static str {
    match key {
        "domains" | "sites" => "\"example.org\", \"*.example.org\" or \"*\"",
        _ => "\"name\", \"prefix*\" or \"*\"",
    }
}

/// What a domain or a site may be called.
fn is_name(text: &str) -> bool {
    is_label(text) && !text.contains('*') && !text.starts_with('.') && !text.ends_with('.')
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_MAX && !text.contains('*') && text.bytes().all(|byte| byte > b' ')
}

/// The conditions on replies.
pub(crate) fn replies(section: &mut Section<'_>, report: &mut Report<'_>) -> Replies {
    let mut stages = 0;
    for (word, at) in section.strings(report, "phase") {
        match PHASES.iter().find(|(name, _)| *name == word) {
            Some((_, meant)) => stages |= meant.iter().fold(0, |bits, stage| bits | 1 << stage.number()),
            None => {
                let words = PHASES.map(|(name, _)| name).join(", ");
                section.wrong(report, at, "phase", format_args!("\"{}\" is none of {words}", excerpt(word)));
            }
        }
    }
    let codes = patterns(section, report, "codes", code, "\"421\", \"45x\" or \"4xx\"; 4 and 5 are failures");
    let enhanced = patterns(section, report, "enhanced", status, "\"4.7.28\", \"4.7.*\" or \"4.*.*\"");
    let text = section.parsed(report, "text", pattern).map(|(pattern, _)| pattern);
    let replies = Replies { stages, codes, enhanced, text };
    check_classes(&replies, section, report);
    replies
}

fn patterns<T>(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Option<T>,
    notation: &str,
) -> Vec<T> {
    let mut found = vec![];
    for (text, at) in section.strings(report, key) {
        match read(text) {
            Some(pattern) => found.push(pattern),
            None => section.wrong(report, at, key, format_args!("\"{}\" is not {notation}", excerpt(text))),
        }
    }
    found
}

/// An enhanced code whose class no code has is never met: the two of a reply agree (RFC 2034 §4).
fn check_classes(replies: &Replies, section: &mut Section<'_>, report: &mut Report<'_>) {
    for pattern in &replies.enhanced {
        let class = u16::from(pattern.class);
        let possible = replies.codes.iter().any(|codes| codes.first / 100 == class);
        if !replies.codes.is_empty() && !possible {
            let at = section.at;
            section.wrong(report, at, "enhanced", format_args!("no code of `codes` goes with class {class}"));
            return;
        }
    }
}

/// `421`, `45x` or `4xx`.
fn code(text: &str) -> Option<CodePattern> {
    let [class @ (b'4' | b'5'), rest @ ..] = text.as_bytes() else { return None };
    let class = u16::from(class - b'0') * 100;
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (first, span) = match rest {
        b"xx" => (class, 99),
        [ten, b'x'] => (class + digit(*ten)? * 10, 9),
        [ten, one] => (class + digit(*ten)? * 10 + digit(*one)?, 0),
        _ => return None,
    };
    Some(CodePattern { first, last: first + span })
}

/// `4.7.28`, `4.7.*` or `4.*.*`.
fn status(text: &str) -> Option<EnhancedPattern> {
    let mut parts = text.split('.');
    let class = match parts.next()? {
        "4" => 4,
        "5" => 5,
        _ => return None,
    };
    let mut part = || {
        let text = parts.next()?;
        if text == "*" {
            return Some(None);
        }
        let plain = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok())
    };
    let (subject, detail) = (part()?, part()?);
    let sound = parts.next().is_none() && !(subject.is_none() && detail.is_some());
    sound.then_some(EnhancedPattern { class, subject, detail })
}

fn pattern(text: &str) -> Result<Regex, String> {
    if text.is_empty() {
        return Err("an empty pattern matches everything; leave it out".to_owned());
    }
    if text.len() > PATTERN_MAX {
        return Err(format!("a pattern of {} octets; {PATTERN_MAX} are the most", text.len()));
    }
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(true).size_limit(PROGRAM_MAX).dfa_size_limit(PROGRAM_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the pattern repeats too much; make it smaller".to_owned(),
        error => {
            let message = error.to_string();
            let last = message.lines().last().unwrap_or("not a pattern").trim_start_matches("error: ");
            format!("not a regular expression: {last}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses() {
        assert_eq!(code("421"), Some(CodePattern { first: 421, last: 421 }));
        assert_eq!(code("45x"), Some(CodePattern { first: 450, last: 459 }));
        assert_eq!(code("5xx"), Some(CodePattern { first: 500, last: 599 }));
        for text in ["", "4", "250", "2xx", "4x1", "4211", "xxx", "4é"] {
            assert_eq!(code(text), None, "{text}");
        }
        assert!(status("4.7.28").is_some() && status("4.7.*").is_some() && status("5.*.*").is_some());
        for text in ["", "4", "4.7", "2.7.1", "4.*.1", "4.7.1.1", "4.7.1000", "4.7.x", "4..1"] {
            assert_eq!(status(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(pattern("TSS0[4-9]").is_ok());
        for text in ["", "(", "a{1000}{1000}", &"a".repeat(1_001)] {
            assert!(pattern(text).is_err(), "{text:.20}");
        }
    }
}
