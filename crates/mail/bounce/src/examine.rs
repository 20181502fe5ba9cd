//! Whole messages that came back: what each is, and whom it is about. Asked by whoever takes bounces in, and by
//! `posthaste bounce classify`.
//!
//! ```text
//!  message ─► parts ─┬─ feedback-report ───────────► complaint
//!                    ├─ delivery-status ───────────► delivery report, a recipient a section
//!                    ├─ disposition-notification ──► read receipt
//!                    └─ none of them: is it from a mailer? ─► bounce in plain text
//!                                     otherwise ─► subject and text by rules: machines, challenges, list requests
//! ```
//! Reports come from anybody. What they name is believed for statistics; what carries our seal is known to be ours.

use crate::class::Class;
use crate::classifier::{Classifier, Reason};
use crate::feedback;
use crate::fields::{self, Fields};
use crate::finding::{Finding, FoundRecipient, Sort, Source};
use crate::mime::{self, ContentType, Part, decode_words};
use crate::plain::TEXT_MAX;
use crate::report;
use crate::said::{Phase, Said};
use crate::seal::{MARK_HEADER, OpenError, Origin, Seal};
use crate::text_bounce;
use message::Enhanced;

/// Octets of a message that are looked at.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Recipients of a message that are told.
pub const RECIPIENTS_MAX: usize = 1000;
/// Addresses of a header field that are looked at.
pub(crate) const ADDRESSES_MAX: usize = 50;

/// What a message is examined with.
#[derive(Clone, Copy, Debug)]
pub struct Examiner<'a> {
    /// The rules.
    pub classifier: &'a Classifier,
    /// Opens our marks; without it they are not looked for.
    pub seal: Option<&'a Seal>,
    /// The header field of our marks.
    pub header: &'a str,
    /// Marks of messages that were received before this second since 1970 count for nothing; 0 takes any.
    pub marks_since: u32,
    /// The envelope recipient the message came to, if that is known.
    pub delivered_to: Option<&'a str>,
}

impl<'a> Examiner<'a> {
    /// With `classifier`, and no seal.
    pub fn new(classifier: &'a Classifier) -> Self {
        Self { classifier, seal: None, header: MARK_HEADER, marks_since: 0, delivered_to: None }
    }

    /// What `message` is. Octets past [`MESSAGE_MAX`] are not looked at.
    pub fn examine(&self, message: &[u8]) -> Finding {
        let message = &message[..message.len().min(MESSAGE_MAX)];
        let (headers, body) = mime::split(message);
        let fields = Fields::read(headers);
        let parts = mime::parts(&fields, body);
        let content = ContentType::of(&fields);
        if let Some(nested) = nested_report(&content, &parts) {
            let (headers, body) = mime::split(&nested);
            let inner = Fields::read(headers);
            let parts = mime::parts(&inner, body);
            return self.sort(&Mail { fields: &fields, parts });
        }
        self.sort(&Mail { fields: &fields, parts })
    }

    fn sort(&self, mail: &Mail<'_>) -> Finding {
        let returned = mail.returned();
        let mut finding = Finding {
            sort: Sort::Mail,
            recipients: Vec::new(),
            origin: None,
            forged: 0,
            stale: 0,
            feedback: None,
            reporter: None,
            envelope_id: None,
            message_id: returned.get("message-id").map(str::to_owned),
        };
        let mark = self.mark(mail.fields, &returned, &mut finding);
        if let Some(part) = mail.part(&["message/feedback-report"]) {
            feedback::read(&part.octets(), &returned, &mut finding);
        } else if let Some(text) = mail.status_text() {
            report::read(self, &text, &mut finding);
        } else if mail.part(&["message/disposition-notification"]).is_some() {
            self.machine(Sort::AutoReply, Class::AutoReply, mail, &mut finding);
        } else if text_bounce::is_bounce(mail.fields) {
            text_bounce::read(self, mail.fields, &mail.text(), &mut finding);
        } else {
            self.by_words(mail, &mut finding);
        }
        self.trace(mark, &returned, &mut finding);
        finding
    }

    /// The mark in the addresses the message came to, else in what it returns.
    fn mark(&self, fields: &Fields, returned: &Fields, finding: &mut Finding) -> Option<(Origin, Source)> {
        let seal = self.seal?;
        let mut take = |opened: Result<Origin, OpenError>| {
            let opened = opened.and_then(|origin| match origin.id.seconds() >= self.marks_since {
                true => Ok(origin),
                false => Err(OpenError::Stale),
            });
            finding.forged += usize::from(opened == Err(OpenError::Forged));
            finding.stale += usize::from(opened == Err(OpenError::Stale));
            opened.ok()
        };
        let names = ["delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to"];
        let came_to = names.iter().flat_map(|name| fields.all(name).take(5));
        // The envelope sender of what is returned is the address that a bounce comes to.
        let sent_from = ["return-path", "x-return-path"].iter().flat_map(|name| returned.all(name).take(1));
        for value in self.delivered_to.into_iter().chain(came_to).chain(sent_from) {
            for address in fields::addresses(value, ADDRESSES_MAX) {
                let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
                if let Some(origin) = take(seal.open_return_path(local)) {
                    return Some((origin, Source::ReturnPath));
                }
            }
        }
        let name = self.header.to_ascii_lowercase();
        let headers = returned.all(&name).chain(fields.all(&name)).take(4);
        headers.filter_map(|value| take(seal.open_header(value))).map(|origin| (origin, Source::Header)).next()
    }

    /// Puts the original recipient in: a mark is about one recipient, and `To` of what is returned is the last resort.
    fn trace(&self, mark: Option<(Origin, Source)>, returned: &Fields, finding: &mut Finding) {
        if let [only] = finding.recipients.as_mut_slice() {
            if let Some((Origin { recipient: Some(recipient), .. }, source)) = &mark {
                (only.original, only.source) = (Some(recipient.as_str().to_owned()), Some(*source));
            } else if only.original.is_none()
                && let [to] = fields::addresses(returned.get("to").unwrap_or_default(), 2).as_slice()
            {
                (only.original, only.source) = (Some((*to).to_owned()), Some(Source::ReturnedTo));
            }
            if only.class == Class::NoRecipient && only.original.is_some() {
                only.class = Class::GenericBounce;
            }
        }
        finding.origin = mark.map(|(origin, _)| origin);
    }

    /// What subject and text say by the rules for them.
    fn by_words(&self, mail: &Mail<'_>, finding: &mut Finding) {
        let subject = decode_words(mail.fields.get("subject").unwrap_or_default());
        let class = self.rule_class(subject.as_bytes(), Phase::Subject);
        let class = class.or_else(|| self.rule_class(first(&mail.text(), TEXT_MAX).as_bytes(), Phase::Body));
        let sort = match class {
            Some(Class::ChallengeResponse) => Sort::ChallengeResponse,
            Some(Class::Unsubscribe) => Sort::Unsubscribe,
            Some(Class::Subscribe) => Sort::Subscribe,
            Some(Class::AutoReply) => Sort::AutoReply,
            _ if is_machine(mail.fields) => Sort::AutoReply,
            _ => return,
        };
        self.machine(sort, class.unwrap_or(Class::AutoReply), mail, finding);
    }

    fn rule_class(&self, text: &[u8], phase: Phase) -> Option<Class> {
        let verdict = self.classifier.classify(&Said { text, phase: Some(phase), ..Said::default() });
        matches!(verdict.reason, Reason::Rule(_)).then_some(verdict.class)
    }

    /// A message that is about whoever sent it.
    fn machine(&self, sort: Sort, class: Class, mail: &Mail<'_>, finding: &mut Finding) {
        let from = mail.fields.get("from").unwrap_or_default();
        let from = fields::addresses(from, ADDRESSES_MAX).last().map(|from| (*from).to_owned());
        let reason = decode_words(mail.fields.get("subject").unwrap_or_default());
        let reason = first(&reason, TEXT_MAX).to_owned();
        finding.sort = sort;
        finding.recipients.push(FoundRecipient { recipient: from, reason, ..FoundRecipient::unknown(class) });
    }

    /// Classifies what was said of one recipient in a report.
    pub(crate) fn judge(&self, found: &mut FoundRecipient) {
        let recipient = found.original.as_deref().or(found.recipient.as_deref()).unwrap_or_default();
        let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
        let host = found.host.clone().unwrap_or_default().to_ascii_lowercase();
        let verdict = self.classifier.classify(&Said {
            code: found.code,
            status: found.status,
            text: found.reason.as_bytes(),
            phase: Some(Phase::Report),
            domain: &domain,
            host: &host,
        });
        found.class = if verdict.class == Class::Undetermined { Class::GenericBounce } else { verdict.class };
        if let Reason::Rule(rule) = verdict.reason {
            found.rule = Some(rule.name().to_owned());
        }
    }
}

/// A message, its parts found.
struct Mail<'m> {
    fields: &'m Fields,
    parts: Vec<Part<'m>>,
}

impl<'m> Mail<'m> {
    fn part(&self, kinds: &[&str]) -> Option<&Part<'m>> {
        self.parts.iter().find(|part| kinds.contains(&part.kind.as_str()))
    }

    /// The delivery status: by its type, or, where hosts give it another, by its fields.
    fn status_text(&self) -> Option<Vec<u8>> {
        if let Some(part) = self.part(&["message/delivery-status", "message/global-delivery-status"]) {
            return Some(part.octets().into_owned());
        }
        let odd = self.parts.iter().filter(|part| part.kind != "message/rfc822").take(4);
        let has_fields = |octets: &[u8]| {
            let field = |name: &[u8]| memchr::memmem::find(octets, name).is_some();
            (field(b"\nFinal-Recipient:") || field(b"\nOriginal-Recipient:")) && field(b"\nAction:")
        };
        odd.map(|part| part.octets()).find(|octets| has_fields(octets)).map(std::borrow::Cow::into_owned)
    }

    /// The header fields of the message that it returns.
    fn returned(&self) -> Fields {
        let kinds = [
            "message/rfc822",
            "text/rfc822-headers",
            "message/rfc822-headers",
            "message/global",
            "message/global-headers",
            "text/rfc822",
        ];
        match self.part(&kinds) {
            Some(part) => {
                let octets = part.octets();
                Fields::read(mime::split(&octets).0)
            }
            None => text_bounce::returned(&self.text()),
        }
    }

    /// The text for people: the first plain part, else the first of HTML without its tags.
    fn text(&self) -> String {
        let plain = self.parts.iter().find(|part| part.kind == "text/plain");
        let html = || self.parts.iter().find(|part| part.kind == "text/html").map(|part| without_tags(&part.text()));
        plain.map(Part::text).filter(|text| !text.trim().is_empty()).or_else(html).unwrap_or_default()
    }
}

/// A report that was forwarded: the message inside, if it is one and the outer one is not.
fn nested_report(outer: &ContentType, parts: &[Part<'_>]) -> Option<Vec<u8>> {
    if outer.report.is_some() || parts.iter().any(|part| part.kind.contains("-status") || part.kind.contains("-report"))
    {
        return None;
    }
    let inner = parts.iter().find(|part| part.kind == "message/rfc822")?.octets().into_owned();
    let content = ContentType::of(&Fields::read(mime::split(&inner).0));
    content.kind.eq("multipart/report").then_some(inner)
}

/// Whether header fields say that a program answered (RFC 3834 §5, and what came before it).
fn is_machine(fields: &Fields) -> bool {
    let is = |name: &str, words: &[&str]| {
        fields.get(name).is_some_and(|value| words.iter().any(|word| value.to_ascii_lowercase().starts_with(word)))
    };
    is("auto-submitted", &["auto-replied", "auto-generated"])
        || is("x-autogenerated", &["reply"])
        || is("precedence", &["auto_reply", "auto-reply"])
        || is("x-precedence", &["auto_reply"])
        || ["x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply-from", "x-mail-autoreply"]
            .iter()
            .any(|name| fields.has(name))
}

/// HTML's text: tags become blanks, the commonest entities their letters.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut inside = false;
    for letter in html.chars() {
        match letter {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push('\n');
            }
            letter if !inside => text.push(letter),
            _ => {}
        }
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&nbsp;", " ").replace("&amp;", "&")
}

/// The first `octets` of a text, at a letter's edge.
pub(crate) fn first(text: &str, octets: usize) -> &str {
    &text[..text.floor_char_boundary(octets)]
}

/// The codes that running text names first: three digits, and a status code.
pub(crate) fn codes_in(text: &str) -> (Option<u16>, Option<Enhanced>) {
    let words = || {
        text.split(|letter: char| letter.is_whitespace() || "()[]<>,;:#\"'-_/=".contains(letter))
            .map(|word| word.trim_matches('.'))
            .filter(|word| word.len() <= 9)
    };
    let status = words().filter_map(Enhanced::parse).find(|status| status.0 != 2);
    let code = |word: &str| word.len() == 3 && word.bytes().all(|digit| digit.is_ascii_digit());
    let mut code = words().filter(|word| code(word)).filter_map(|word| word.parse().ok());
    (code.find(|code| (400..600).contains(code)), status)
}
