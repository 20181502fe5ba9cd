//! Rows of the main log and of the bounce log, in the layout that pipelines behind large senders parse.
//!
//! Common prefix: timestamp, message id, batch id, connection id, type. Fields are separated by `@`.

use crate::recorder::Timestamps;
use crate::row::{Moment, Row};
use bounce::{Classifier, Said};
use message::{About, Address, Container, Event, Lasting, Message, MessageId, Reply, Returned, Stage};
use std::time::Duration;

/// The name of the binding group that mail has when its binding was chosen from none.
const NO_GROUP: &str = "default";
/// The name of the binding that mail has unless something gave it another.
const NO_BINDING: &str = "default";

fn group(container: Option<&Container>) -> &str {
    container.and_then(|container| container.group.as_deref()).unwrap_or(NO_GROUP)
}

fn parts(address: Option<&Address>) -> (&str, &str) {
    address.map_or(("", ""), |address| (address.local_part(), address.domain_text()))
}

fn recipient(message: &Message, index: u16) -> (&str, &str) {
    parts(message.envelope.recipients.get(usize::from(index)).map(|recipient| &recipient.address))
}

/// Seconds with their decimals.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

fn prefix(out: &mut Vec<u8>, at: Moment, id: MessageId, batch: MessageId, connection: MessageId) -> Row<'_> {
    Row::begin(out, at).field(id).field(batch).field(connection)
}

/// Appends the main log's row of `event`, if it has one: R, D, T, P or O.
pub(crate) fn main_row(out: &mut Vec<u8>, event: &Event<'_>, timestamps: Timestamps) {
    match event {
        Event::Received { at, message, recipient: index, container } => {
            let (local, domain) = recipient(message, *index);
            let (from_local, from_domain) = parts(message.envelope.sender.as_ref());
            let row =
                prefix(out, Moment(*at, timestamps), message.id.nth(*index), message.id, message.reception.connection)
                    .field("R")
                    .text(local)
                    .text(domain)
                    .text(from_local)
                    .text(from_domain);
            let row = match message.reception.peer {
                Some(peer) => row.field(peer),
                None => row.field("unknown"),
            };
            let protocol = match message.reception.protocol {
                message::Protocol::Internal => "internal",
                _ => "esmtp",
            };
            let binding = container.map_or(NO_BINDING, |container| &*container.binding);
            row.field(message.size()).field(protocol).text(group(*container)).text(binding).end();
        }
        Event::Delivered { attempt, .. } => {
            let (_, domain) = recipient(attempt.message, attempt.recipient);
            attempt_prefix(out, attempt, "D", timestamps)
                .text(domain)
                .field(attempt.message.size())
                .text(group(Some(attempt.container)))
                .text(&attempt.container.binding)
                .field(attempt.retries)
                .field(Seconds(attempt.message.reception.at.until(attempt.at)))
                .ip(attempt.peer)
                .end();
        }
        Event::Transient { attempt, reply } => failure(out, attempt, reply, "T", timestamps),
        Event::Permanent { attempt, reply } => failure(out, attempt, reply, "P", timestamps),
        Event::Operated(operation) => {
            let none = MessageId::NONE;
            prefix(out, Moment(operation.at, timestamps), none, none, none)
                .field("O")
                .text(operation.who)
                .text(operation.what)
                .text(operation.filter)
                .field(operation.matched)
                .field(operation.touched)
                .end();
        }
        Event::Returned(_) | Event::Complained(_) | Event::Rejected(_) | Event::Shaped(_) => {}
    }
}

fn attempt_prefix<'a>(
    out: &'a mut Vec<u8>,
    attempt: &message::Attempt<'_>,
    kind: &str,
    timestamps: Timestamps,
) -> Row<'a> {
    let message = attempt.message;
    prefix(out, Moment(attempt.at, timestamps), message.id.nth(attempt.recipient), message.id, attempt.connection)
        .field(kind)
}

fn failure(out: &mut Vec<u8>, attempt: &message::Attempt<'_>, reply: &Reply, kind: &str, timestamps: Timestamps) {
    let (_, domain) = recipient(attempt.message, attempt.recipient);
    attempt_prefix(out, attempt, kind, timestamps)
        .text(domain)
        .field(attempt.sent)
        .text(group(Some(attempt.container)))
        .text(&attempt.container.binding)
        .field(attempt.stage.number())
        .field(attempt.retries)
        .field(Seconds(attempt.message.reception.at.until(attempt.at)))
        .ip(attempt.peer)
        .last(reply);
}

/// Appends the bounce log's row of `event`, if it has one: B for a failure for good, T for one for now; of failures in a
/// conversation and of those that came back as messages.
pub(crate) fn bounce_row(out: &mut Vec<u8>, event: &Event<'_>, timestamps: Timestamps, classifier: &Classifier) {
    let (attempt, reply, kind) = match event {
        Event::Permanent { attempt, reply } => (attempt, reply, "B"),
        Event::Transient { attempt, reply } => (attempt, reply, "T"),
        Event::Returned(returned) => return returned_row(out, returned, timestamps),
        _ => return,
    };
    let (local, domain) = recipient(attempt.message, attempt.recipient);
    let (from_local, from_domain) = parts(attempt.message.envelope.sender.as_ref());
    let class = classifier.classify(&Said::reply(reply, attempt.stage, domain)).class;
    attempt_prefix(out, attempt, kind, timestamps)
        .text(local)
        .text(domain)
        .text(from_local)
        .text(from_domain)
        .text(group(Some(attempt.container)))
        .text(&attempt.container.binding)
        .field(attempt.stage.number())
        .field(class.number())
        .field(attempt.message.size())
        .ip(attempt.peer)
        .last(reply);
}

/// The recipient that a message that came back is about: local part and domain.
fn original<'a>(about: &About<'a>) -> (&'a str, &'a str) {
    let original = about.original.unwrap_or_default();
    original.rsplit_once('@').unwrap_or((original, ""))
}

/// A row as a conversation's failure has it. The batch and the connection are those by which the bounce came in, the
/// sender is the address it came to, and the size is its own; group and binding are not known any more.
fn returned_row(out: &mut Vec<u8>, returned: &Returned<'_>, timestamps: Timestamps) {
    let Returned { about, lasting, class, text } = returned;
    let (local, domain) = original(about);
    let (from_local, from_domain) = recipient(about.message, about.recipient);
    let kind = match lasting {
        Lasting::ForGood => "B",
        Lasting::ForNow => "T",
    };
    Row::begin(out, Moment(about.at, timestamps))
        .field(about.id.unwrap_or(MessageId::NONE.legacy()))
        .field(about.message.id)
        .field(about.message.reception.connection)
        .field(kind)
        .text(local)
        .text(domain)
        .text(from_local)
        .text(from_domain)
        .text(NO_GROUP)
        .text(NO_BINDING)
        .field(Stage::OutOfBand.number())
        .field(class)
        .field(about.message.size())
        .ip(about.message.reception.peer)
        .last(text);
}

/// Appends the row of a complaint: F. Binding and group are not known any more.
pub(crate) fn feedback_row(out: &mut Vec<u8>, event: &Event<'_>, timestamps: Timestamps) {
    let Event::Complained(complaint) = event else { return };
    let (local, domain) = original(&complaint.about);
    Row::begin(out, Moment(complaint.about.at, timestamps))
        .field(complaint.about.id.unwrap_or(MessageId::NONE.legacy()))
        .field("F")
        .text(local)
        .text(domain)
        .text(NO_BINDING)
        .text(NO_GROUP)
        .text(complaint.kind)
        .text(complaint.domain)
        .text(complaint.user_string)
        .end();
}
