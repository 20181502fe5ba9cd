//! What `examine` finds in a message that came back. Plain data; the caller prints or acts on it.

use crate::class::Class;
use crate::seal::Origin;
use message::Enhanced;

/// What a message that came back is.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its sort.
    pub sort: Sort,
    /// What it says of each recipient; at most [`crate::RECIPIENTS_MAX`]. Empty for ordinary mail.
    pub recipients: Vec<FoundRecipient>,
    /// What the mark of our own says that it carries.
    pub origin: Option<Origin>,
    /// Marks that look like ours and were made with no key of ours. They count for nothing.
    pub forged: usize,
    /// Marks of ours that are too old. They count for nothing, too.
    pub stale: usize,
    /// A complaint's own fields.
    pub feedback: Option<Feedback>,
    /// The host that reports.
    pub reporter: Option<String>,
    /// The `ENVID` of the message it is about (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// The `Message-ID` of the message it is about, as it was returned.
    pub message_id: Option<String>,
}

/// Sorts of messages that come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// A delivery report (RFC 3464).
    DeliveryReport,
    /// A bounce in a text of its own.
    TextBounce,
    /// A complaint of a feedback loop (RFC 5965).
    Feedback,
    /// An answering machine, or a read receipt.
    AutoReply,
    /// The sender is to prove that it is a person.
    ChallengeResponse,
    /// Somebody wants to be put on a list.
    Subscribe,
    /// Somebody wants to be taken off a list.
    Unsubscribe,
    /// None of these.
    Mail,
}

/// What is said of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecipient {
    /// The recipient that the report names.
    pub recipient: Option<String>,
    /// The recipient as we sent to it.
    pub original: Option<String>,
    /// Where `original` is from.
    pub source: Option<Source>,
    /// What happened.
    pub action: Action,
    /// The enhanced status code.
    pub status: Option<Enhanced>,
    /// The three digits.
    pub code: Option<u16>,
    /// The class. [`Class::Undetermined`] where nothing failed.
    pub class: Class,
    /// The rule it follows from, if it was a rule.
    pub rule: Option<String>,
    /// The host that refused it.
    pub host: Option<String>,
    /// The reason in the other side's words; at most [`crate::TEXT_MAX`] octets.
    pub reason: String,
}

/// Where an original recipient is from, most trustworthy first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Our sealed return path.
    ReturnPath,
    /// Our sealed header field in the returned message.
    Header,
    /// The report's `Original-Recipient`, or `Original-Rcpt-To` of a complaint.
    OriginalRecipient,
    /// The report's `Final-Recipient`.
    FinalRecipient,
    /// `X-Failed-Recipients`.
    FailedRecipients,
    /// `To` of the returned message, which names one address.
    ReturnedTo,
    /// The text of a bounce.
    Text,
}

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet delivered.
    Delayed,
    /// Delivered.
    Delivered,
    /// Handed on to a host that does not report.
    Relayed,
    /// Handed on to several recipients.
    Expanded,
    /// Nothing is said of delivery.
    None,
}

/// A complaint's fields (RFC 5965 §3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `abuse`, `fraud`, `not-spam`, `virus`, `other`, …, lower case.
    pub kind: String,
    /// The program that made it.
    pub user_agent: Option<String>,
    /// The envelope sender of the message it is about.
    pub mail_from: Option<String>,
    /// The address the message came from.
    pub source_ip: Option<String>,
    /// The domain it is about.
    pub domain: Option<String>,
    /// How many complaints it stands for; 1 if it does not say.
    pub incidents: u32,
}

impl Sort {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeliveryReport => "delivery-report",
            Self::TextBounce => "text-bounce",
            Self::Feedback => "feedback",
            Self::AutoReply => "auto-reply",
            Self::ChallengeResponse => "challenge-response",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Mail => "mail",
        }
    }
}

impl Source {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReturnPath => "return-path",
            Self::Header => "header",
            Self::OriginalRecipient => "original-recipient",
            Self::FinalRecipient => "final-recipient",
            Self::FailedRecipients => "failed-recipients",
            Self::ReturnedTo => "returned-to",
            Self::Text => "text",
        }
    }
}

impl Action {
    /// Its name in reports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
            Self::None => "none",
        }
    }

    /// Reads the word of an `Action` field; what follows it is a comment.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let word = text.split(|letter: char| !letter.is_ascii_alphabetic()).find(|word| !word.is_empty())?;
        [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed, Self::Expanded]
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(word))
    }
}

impl FoundRecipient {
    /// Nothing known but that something was said.
    pub(crate) fn unknown(class: Class) -> Self {
        Self {
            recipient: None,
            original: None,
            source: None,
            action: Action::None,
            status: None,
            code: None,
            class,
            rule: None,
            host: None,
            reason: String::new(),
        }
    }
}
