//! Delivery reports (RFC 3464): a section for the message, then one for each recipient. Forgiving: sections run together,
//! fields missing, comments and types left out.

use crate::class::Class;
use crate::examine::{Examiner, RECIPIENTS_MAX, codes_in, first};
use crate::fields::{Fields, address, sections};
use crate::finding::{Action, Finding, FoundRecipient, Sort, Source};
use crate::plain::TEXT_MAX;
use message::Enhanced;

/// Reads the status part into `finding`.
pub(crate) fn read(examiner: &Examiner<'_>, text: &[u8], finding: &mut Finding) {
    finding.sort = Sort::DeliveryReport;
    for section in sections(text) {
        let get = |name: &str| section.get(name).map(|value| without_type(value).to_owned());
        finding.reporter = finding.reporter.take().or_else(|| get("reporting-mta"));
        finding.envelope_id =
            finding.envelope_id.take().or_else(|| section.get("original-envelope-id").map(str::to_owned));
        for fields in recipients(&section) {
            if finding.recipients.len() < RECIPIENTS_MAX {
                finding.recipients.push(recipient(examiner, &fields));
            }
        }
    }
    if finding.recipients.is_empty() {
        finding
            .recipients
            .push(FoundRecipient { action: Action::Failed, ..FoundRecipient::unknown(Class::NoRecipient) });
    }
}

/// Fields of recipients.
const FIELDS: [&str; 4] = ["final-recipient", "original-recipient", "action", "status"];

/// A section's recipients: one as a rule, none in the section of the message, more where the empty lines are missing, which
/// shows in a field that comes again.
fn recipients(section: &Fields) -> Vec<Vec<(&str, &str)>> {
    let mut groups: Vec<Vec<(&str, &str)>> = Vec::new();
    let mut group: Vec<(&str, &str)> = Vec::new();
    for (name, value) in section.iter() {
        let again = FIELDS.contains(&name) && group.iter().any(|(known, _)| *known == name);
        if again {
            groups.push(std::mem::take(&mut group));
        }
        // A section has some dozen fields; more of them say nothing new, and each is compared with those before.
        if group.len() < 40 {
            group.push((name, value));
        }
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|(name, _)| FIELDS.contains(name)));
    groups
}

fn recipient(examiner: &Examiner<'_>, fields: &[(&str, &str)]) -> FoundRecipient {
    let get = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
    let named = |name: &str| get(name).and_then(recipient_address);
    let (last, original) = (named("final-recipient"), named("original-recipient"));
    let diagnostic = get("diagnostic-code").map(without_type).unwrap_or_default();
    let (code, said) = codes_in(first(diagnostic, TEXT_MAX));
    let status = get("status").and_then(status).filter(|status| *status != Enhanced(5, 0, 0) || said.is_none());
    let status = status.or(said);
    let action = get("action").and_then(Action::parse).unwrap_or(match status {
        Some(Enhanced(4, ..)) => Action::Delayed,
        Some(Enhanced(2, ..)) => Action::Delivered,
        _ => Action::Failed,
    });
    let source = match (&original, &last) {
        (Some(_), _) => Some(Source::OriginalRecipient),
        (None, Some(_)) => Some(Source::FinalRecipient),
        (None, None) => None,
    };
    let mut found = FoundRecipient {
        original: original.or_else(|| last.clone()),
        recipient: last,
        source,
        action,
        status,
        code,
        host: get("remote-mta").map(|value| without_type(value).to_owned()),
        reason: first(diagnostic, TEXT_MAX).to_owned(),
        ..FoundRecipient::unknown(Class::Undetermined)
    };
    if matches!(action, Action::Failed | Action::Delayed) {
        examiner.judge(&mut found);
    }
    found
}

/// `rfc822; joe@example.org`, with or without the type, angle brackets and xtext.
fn recipient_address(value: &str) -> Option<String> {
    let text = without_type(value);
    let text = from_xtext(text);
    address(&text).map(str::to_owned)
}

/// What follows `type;`.
fn without_type(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if kind.trim().bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') => {
            rest.trim()
        }
        _ => value.trim(),
    }
}

/// `5.1.1`, with or without a comment behind it.
fn status(value: &str) -> Option<Enhanced> {
    value.split(|letter: char| !(letter.is_ascii_digit() || letter == '.')).find_map(Enhanced::parse)
}

/// Undoes `+2B` and the like (RFC 3461 §4). What is no escape stays: many reports have addresses as they are.
fn from_xtext(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        let hex =
            |octet: u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F').then(|| char::from(octet).to_digit(16)).flatten();
        match behind {
            [high, low, behind @ ..] if octet == b'+' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) if (high << 4 | low) > 32 => {
                    octets.push((high << 4 | low) as u8);
                    rest = behind;
                }
                _ => octets.push(octet),
            },
            _ => octets.push(octet),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}
