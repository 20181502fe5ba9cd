//! Classes of failures: the one table of their numbers, names and kinds. Everything that classifies ends here; the page
//! `docs/bounces.md` is checked against it. Decides nothing.

use std::fmt;

/// What a failure means. The numbers stand in the bounce log, where operators' pipelines know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Nothing is known.
    Undetermined = 1,
    /// The recipient does not exist.
    InvalidRecipient = 10,
    /// A failure of the recipient's side that may pass, of no closer class.
    SoftBounce = 20,
    /// The next hop's domain could not be looked up.
    DnsFailure = 21,
    /// The recipient's mailbox is full.
    MailboxFull = 22,
    /// The message is too large.
    TooLarge = 23,
    /// Time ran out.
    Timeout = 24,
    /// An operator's doing, or a fault of how either side is set up.
    AdminFailure = 25,
    /// A report of failure that names no recipient.
    NoRecipient = 30,
    /// A failure of no closer class.
    GenericBounce = 40,
    /// Refused by a policy of the receiver.
    MailBlock = 50,
    /// The sender or its address is refused as a source of spam.
    SpamBlock = 51,
    /// The content is refused as spam.
    SpamContent = 52,
    /// An attachment or a virus in it is refused.
    ProhibitedAttachment = 53,
    /// Relaying was refused.
    RelayingDenied = 54,
    /// No failure: an answering machine.
    AutoReply = 60,
    /// For now; trying again is in order.
    TransientFailure = 70,
    /// A request to be put on a list.
    Subscribe = 80,
    /// A request to be taken off a list.
    Unsubscribe = 90,
    /// The receiver wants the sender to prove that it is a person.
    ChallengeResponse = 100,
}

/// What a class means for the recipient's place on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing follows.
    Undetermined,
    /// The address is no good.
    Hard,
    /// The address may be good another time.
    Soft,
    /// The address is good; the sender or the message is refused.
    Block,
    /// Not about the address.
    Admin,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ClassRow {
    /// The class.
    pub class: Class,
    /// Its name in rule files and in JSON.
    pub name: &'static str,
    /// Its name in texts for people.
    pub title: &'static str,
    /// What follows from it.
    pub kind: Kind,
    /// What belongs to it, one sentence.
    pub about: &'static str,
}

const fn row(class: Class, name: &'static str, title: &'static str, kind: Kind, about: &'static str) -> ClassRow {
    ClassRow { class, name, title, kind, about }
}

/// Every class, by number.
pub const CLASSES: [ClassRow; 20] = [
    row(
        Class::Undetermined,
        "undetermined",
        "Undetermined",
        Kind::Undetermined,
        "Neither text nor codes say anything.",
    ),
    row(
        Class::InvalidRecipient,
        "invalid-recipient",
        "Invalid Recipient",
        Kind::Hard,
        "The mailbox or its domain does not exist, or was closed.",
    ),
    row(Class::SoftBounce, "soft-bounce", "Soft Bounce", Kind::Soft, "A fault on the receiver's side that may pass."),
    row(Class::DnsFailure, "dns-failure", "DNS Failure", Kind::Soft, "The domain could not be looked up or routed to."),
    row(Class::MailboxFull, "mailbox-full", "Mailbox Full", Kind::Soft, "The mailbox is over its quota."),
    row(Class::TooLarge, "too-large", "Too Large", Kind::Soft, "The message is larger than the receiver takes."),
    row(Class::Timeout, "timeout", "Timeout", Kind::Soft, "The message waited or the connection hung for too long."),
    row(
        Class::AdminFailure,
        "admin-failure",
        "Admin Failure",
        Kind::Admin,
        "An operator ended it, or one side is set up wrongly.",
    ),
    row(
        Class::NoRecipient,
        "no-recipient",
        "Generic Bounce: No Recipient",
        Kind::Hard,
        "A bounce message whose recipient cannot be found.",
    ),
    row(
        Class::GenericBounce,
        "generic-bounce",
        "Generic Bounce",
        Kind::Soft,
        "A failure for good whose reason is not told.",
    ),
    row(
        Class::MailBlock,
        "mail-block",
        "Mail Block",
        Kind::Block,
        "The receiver's policy refuses the sender, its address or its authentication.",
    ),
    row(
        Class::SpamBlock,
        "spam-block",
        "Spam Block",
        Kind::Block,
        "The sender's address or domain is known for spam: block lists, reputation.",
    ),
    row(
        Class::SpamContent,
        "spam-content",
        "Spam Content",
        Kind::Block,
        "The message itself looks like spam or phishing.",
    ),
    row(
        Class::ProhibitedAttachment,
        "prohibited-attachment",
        "Prohibited Attachment",
        Kind::Block,
        "An attachment is of a kind that is not taken, or holds a virus.",
    ),
    row(
        Class::RelayingDenied,
        "relaying-denied",
        "Relaying Denied",
        Kind::Block,
        "The host does not take mail for this domain.",
    ),
    row(
        Class::AutoReply,
        "auto-reply",
        "Auto-Reply",
        Kind::Soft,
        "Out of office, read receipts and other answering machines.",
    ),
    row(
        Class::TransientFailure,
        "transient-failure",
        "Transient Failure",
        Kind::Soft,
        "Deferred: greylisting, rate limits, a busy or faulty host.",
    ),
    row(Class::Subscribe, "subscribe", "Subscribe", Kind::Admin, "Somebody asks to be put on a list."),
    row(Class::Unsubscribe, "unsubscribe", "Unsubscribe", Kind::Hard, "Somebody asks to be taken off a list."),
    row(
        Class::ChallengeResponse,
        "challenge-response",
        "Challenge-Response",
        Kind::Soft,
        "The sender is asked to confirm that it is a person.",
    ),
];

impl Class {
    /// The number in the bounce log.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its row of the table.
    pub fn row(self) -> &'static ClassRow {
        CLASSES.iter().find(|row| row.class == self).expect("the table has a row for every class; a test counts them")
    }

    /// Its name in rule files and in JSON: `invalid-recipient`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What follows from it.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// The class with this name.
    pub fn named(name: &str) -> Option<Self> {
        CLASSES.iter().find(|row| row.name == name).map(|row| row.class)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().title)
    }
}

impl Kind {
    /// Its name in texts and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undetermined => "undetermined",
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Block => "block",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The table of classes for a page of documentation.
pub fn class_table() -> String {
    let mut table = String::from("| number | class | kind | what belongs to it |\n|---|---|---|---|\n");
    for row in CLASSES {
        table.push_str(&format!("| {} | `{}` | {} | {} |\n", row.class.number(), row.name, row.kind, row.about));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_row_in_the_order_of_numbers() {
        assert!(CLASSES.windows(2).all(|pair| pair[0].class.number() < pair[1].class.number()));
        for row in CLASSES {
            assert_eq!(Class::named(row.name), Some(row.class));
            assert_eq!(row.class.row().name, row.name);
        }
        assert_eq!(
            CLASSES.map(|row| row.class.number()),
            [1, 10, 20, 21, 22, 23, 24, 25, 30, 40, 50, 51, 52, 53, 54, 60, 70, 80, 90, 100]
        );
    }
}
