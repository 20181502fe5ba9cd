//! Bounces in plain text, as mailers wrote them before there were reports, and as some still do: who failed is found by the
//! place of addresses in lines, why in the text that follows.

use crate::class::Class;
use crate::examine::{ADDRESSES_MAX, Examiner, RECIPIENTS_MAX, codes_in, first};
use crate::fields::{Fields, address, addresses};
use crate::finding::{Action, Finding, FoundRecipient, Sort, Source};
use crate::mime::decode_words;
use crate::plain::TEXT_MAX;

/// Octets of the text that are read.
const TEXT_READ_MAX: usize = 64 * 1024;

/// Whom mailers write as.
const MAILERS: [&str; 6] = ["mailer-daemon", "postmaster", "mail-daemon", "mdaemon", "mailsystem", "mailerdaemon"];

/// What mailers write above bounces.
const SUBJECTS: [&str; 24] = [
    "undeliver",
    "undelivered mail",
    "returned mail",
    "mail returned",
    "returned to sender",
    "failure notice",
    "delivery failure",
    "delivery failed",
    "delivery fail",
    "delivery status notification",
    "delivery problem",
    "delivery error",
    "delivery has failed",
    "delivery notification",
    "mail delivery",
    "message delivery",
    "mail system error",
    "mail failure",
    "mail error",
    "could not be delivered",
    "not delivered",
    "delayed mail",
    "warning: could not send",
    "message you sent",
];

/// Where the returned message begins; lower case.
const SEPARATORS: [&str; 12] = [
    "--- below this line is a copy of the message",
    "------ this is a copy of the message",
    "----- original message",
    "---original message",
    "--- original message",
    "----- message header follows",
    "--- returned message",
    "----- unsent message follows",
    "------ original message",
    "----- returned message",
    "original message follows",
    "message header:",
];

/// Whether a mailer wrote it: by its sender, by a failure's own header field, or by its subject and an empty sender.
pub(crate) fn is_bounce(fields: &Fields) -> bool {
    let from = fields.get("from").unwrap_or_default().to_ascii_lowercase();
    let subject = decode_words(fields.get("subject").unwrap_or_default()).to_ascii_lowercase();
    let by_subject = SUBJECTS.iter().any(|words| subject.contains(words));
    let mailer = addresses(&from, ADDRESSES_MAX).iter().any(|from| MAILERS.iter().any(|name| from.starts_with(name)));
    let by_from = mailer || from.contains("mail delivery s");
    let empty = fields.get("return-path").is_some_and(|path| path.trim() == "<>");
    fields.has("x-failed-recipients") || (by_subject && (by_from || empty)) || by_from && !is_answer(&subject)
}

/// A postmaster may answer like anybody.
fn is_answer(subject: &str) -> bool {
    ["re:", "aw:", "sv:", "antw:"].iter().any(|mark| subject.starts_with(mark))
}

/// Reads the text into `finding`.
pub(crate) fn read(examiner: &Examiner<'_>, fields: &Fields, text: &str, finding: &mut Finding) {
    finding.sort = Sort::TextBounce;
    let (own, _) = cut(text);
    let mut found = by_lines(own);
    if found.is_empty() {
        let named = fields.all("x-failed-recipients").flat_map(|value| addresses(value, ADDRESSES_MAX));
        found = named.map(|name| failed(name, Source::FailedRecipients, reason_of(own))).collect();
    }
    if found.is_empty() {
        let reason = reason_of(own);
        let mut unknown =
            FoundRecipient { action: Action::Failed, reason, ..FoundRecipient::unknown(Class::NoRecipient) };
        (unknown.code, unknown.status) = codes_in(&unknown.reason);
        found.push(unknown);
    }
    let delayed = ["delay", "warning", "verzögert", "retard"].iter().any(|word| subject_has(fields, word));
    for recipient in &mut found {
        let nobody = recipient.recipient.is_none();
        (recipient.code, recipient.status) = codes_in(&recipient.reason);
        if delayed && recipient.status.is_none_or(|status| status.0 == 4) {
            recipient.action = Action::Delayed;
        }
        examiner.judge(recipient);
        if nobody && recipient.class == Class::GenericBounce {
            recipient.class = Class::NoRecipient;
        }
    }
    finding.recipients = found;
}

fn subject_has(fields: &Fields, word: &str) -> bool {
    fields.get("subject").is_some_and(|subject| decode_words(subject).to_lowercase().contains(word))
}

/// The header fields of the message that a text returns behind its separator.
pub(crate) fn returned(text: &str) -> Fields {
    let behind = cut(text).1;
    let start = behind.find(['\n']).map_or(behind.len(), |at| at + 1);
    Fields::read(crate::mime::split(behind[start..].trim_start().as_bytes()).0)
}

/// The mailer's own words, and what is behind the separator.
fn cut(text: &str) -> (&str, &str) {
    let text = first(text, TEXT_READ_MAX);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.trim_start().to_ascii_lowercase();
        if SEPARATORS.iter().any(|separator| lower.starts_with(separator)) {
            return text.split_at(at);
        }
        at += line.len();
    }
    (text, "")
}

/// Recipients by lines that begin with an address or are one; what follows until an empty line or the next is the reason.
fn by_lines(text: &str) -> Vec<FoundRecipient> {
    let mut found: Vec<FoundRecipient> = Vec::new();
    // Whether lines still belong to the last recipient.
    let mut open = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some((name, rest)) = line_address(line) {
            if found.len() >= RECIPIENTS_MAX {
                break;
            }
            let known = found.iter().rev().take(20).any(|known| known.recipient.as_deref() == Some(name));
            if !known {
                found.push(failed(name, Source::Text, rest.to_owned()));
                open = true;
                continue;
            }
        }
        match found.last_mut() {
            _ if !open => {}
            // An empty line right behind the address separates nothing yet.
            Some(last) if line.is_empty() => open = last.reason.is_empty(),
            Some(last) if last.reason.len() + line.len() < TEXT_MAX => {
                if !last.reason.is_empty() {
                    last.reason.push('\n');
                }
                last.reason.push_str(line);
            }
            _ => {}
        }
    }
    let reason = reason_of(text);
    for recipient in found.iter_mut().filter(|recipient| recipient.reason.trim().is_empty()) {
        recipient.reason.clone_from(&reason);
    }
    found
}

/// `<joe@example.org>: reason`, `joe@example.org`, `joe@example.org: reason`, `Failed recipient: joe@example.org`.
fn line_address(line: &str) -> Option<(&str, &str)> {
    const LABELS: [&str; 6] =
        ["failed recipient:", "recipient:", "to:", "user:", "recipient address:", "failed to deliver to"];
    let lower = first(line, 40).to_ascii_lowercase();
    let label = LABELS.iter().find(|label| lower.starts_with(**label) && line.is_char_boundary(label.len()));
    let line = label.map_or(line, |label| line[label.len()..].trim_start());
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let framed = word.starts_with('<') || word.ends_with(':') || word.ends_with("...") || rest.is_empty();
    let rest = rest.trim_start_matches(['(', ':', '-', ' ']);
    address(word).filter(|_| framed || rest.starts_with("said")).map(|name| (name, first(rest, TEXT_MAX)))
}

fn failed(name: &str, source: Source, reason: String) -> FoundRecipient {
    FoundRecipient {
        recipient: Some(name.to_owned()),
        original: Some(name.to_owned()),
        source: Some(source),
        action: Action::Failed,
        reason,
        ..FoundRecipient::unknown(Class::Undetermined)
    }
}

/// The line that says most: one with a code, else the beginning of the text.
fn reason_of(text: &str) -> String {
    let telling = text.lines().take(200).map(str::trim).find(|line| {
        let (code, status) = codes_in(first(line, TEXT_MAX));
        status.is_some() || code.is_some()
    });
    first(telling.unwrap_or(text.trim()), TEXT_MAX).to_owned()
}
