//! Complaints of feedback loops (RFC 5965).

use crate::class::Class;
use crate::examine::{ADDRESSES_MAX, RECIPIENTS_MAX};
use crate::fields::{Fields, address, addresses};
use crate::finding::{Feedback, Finding, FoundRecipient, Sort, Source};

/// Reads the report part into `finding`. The receivers of a complaint are in no field that must be there: providers leave
/// them out, which is what our own mark is for.
pub(crate) fn read(text: &[u8], returned: &Fields, finding: &mut Finding) {
    let fields = Fields::read(text.trim_ascii_start());
    let get = |name: &str| fields.get(name).map(str::to_owned);
    finding.sort = Sort::Feedback;
    finding.envelope_id = get("original-envelope-id");
    finding.reporter =
        fields.get("reporting-mta").map(|value| value.rsplit(';').next().unwrap_or(value).trim().to_owned());
    finding.feedback = Some(Feedback {
        kind: fields.get("feedback-type").unwrap_or("other").to_ascii_lowercase(),
        user_agent: get("user-agent"),
        mail_from: fields.get("original-mail-from").and_then(address).map(str::to_owned),
        source_ip: get("source-ip"),
        domain: get("reported-domain"),
        incidents: fields.get("incidents").and_then(|number| number.parse().ok()).unwrap_or(1),
    });
    for recipient in fields.all("original-rcpt-to").filter_map(address).take(RECIPIENTS_MAX) {
        finding.recipients.push(found(recipient, Source::OriginalRecipient));
    }
    if finding.recipients.is_empty() {
        let to = addresses(returned.get("to").unwrap_or_default(), ADDRESSES_MAX);
        match to.as_slice() {
            [only] => finding.recipients.push(found(only, Source::ReturnedTo)),
            _ => finding.recipients.push(FoundRecipient::unknown(Class::Undetermined)),
        }
    }
}

fn found(recipient: &str, source: Source) -> FoundRecipient {
    FoundRecipient {
        recipient: Some(recipient.to_owned()),
        original: Some(recipient.to_owned()),
        source: Some(source),
        ..FoundRecipient::unknown(Class::Undetermined)
    }
}
