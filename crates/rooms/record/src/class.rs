//! Bounce classes: the numbers that operators' pipelines know, from the status of a reply.
//!
//! This is the plain mapping of enhanced status codes (RFC 3463) and basic codes; it knows no provider's phrases.

use message::{Enhanced, Reply};

/// A class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BounceClass {
    /// Nothing is known.
    Undetermined = 1,
    /// The recipient does not exist.
    InvalidRecipient = 10,
    /// The next hop's domain could not be looked up.
    DnsFailure = 21,
    /// The recipient's mailbox is full.
    MailboxFull = 22,
    /// The message is too large.
    TooLarge = 23,
    /// Time ran out.
    Timeout = 24,
    /// An operator's doing.
    AdminFailure = 25,
    /// A soft failure of no particular kind.
    GenericBounce = 40,
    /// Refused by policy.
    MailBlock = 50,
    /// Refused as spam.
    SpamBlock = 51,
    /// Relaying was refused.
    RelayingDenied = 54,
    /// For now.
    TransientFailure = 70,
}

impl BounceClass {
    /// The number in the bounce log.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The class of a failure with this reply.
pub fn classify(reply: &Reply) -> BounceClass {
    match reply.enhanced() {
        Some(Enhanced(_, 1, 1 | 2 | 3 | 6 | 10)) => BounceClass::InvalidRecipient,
        Some(Enhanced(_, 2, 1)) => BounceClass::InvalidRecipient,
        Some(Enhanced(_, 2, 2)) => BounceClass::MailboxFull,
        Some(Enhanced(_, 2, 3) | Enhanced(_, 3, 4)) => BounceClass::TooLarge,
        Some(Enhanced(_, 4, 1 | 2 | 7)) => BounceClass::Timeout,
        Some(Enhanced(_, 4, 3 | 4)) => BounceClass::DnsFailure,
        Some(Enhanced(_, 1 | 7, 0)) if reply.text.contains("[internal]") => BounceClass::AdminFailure,
        Some(Enhanced(_, 7, 1)) if reply.text.contains("relay") => BounceClass::RelayingDenied,
        Some(Enhanced(_, 7, 28)) => BounceClass::SpamBlock,
        Some(Enhanced(_, 7, _)) => BounceClass::MailBlock,
        _ if reply.is_transient() => BounceClass::TransientFailure,
        Some(_) => BounceClass::GenericBounce,
        None => match reply.code {
            550 | 551 | 553 => BounceClass::InvalidRecipient,
            552 => BounceClass::MailboxFull,
            554 => BounceClass::GenericBounce,
            _ => BounceClass::Undetermined,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_common_replies() {
        let class = |code, text| classify(&Reply::new(code, text));
        assert_eq!(class(550, "5.1.1 no such user"), BounceClass::InvalidRecipient);
        assert_eq!(class(550, "unknown"), BounceClass::InvalidRecipient);
        assert_eq!(class(452, "4.2.2 full"), BounceClass::MailboxFull);
        assert_eq!(class(552, "5.3.4 too big"), BounceClass::TooLarge);
        assert_eq!(class(550, "5.7.1 relaying denied"), BounceClass::RelayingDenied);
        assert_eq!(class(554, "5.7.1 blocked"), BounceClass::MailBlock);
        assert_eq!(class(550, "5.1.0 [internal] recipient address is suppressed"), BounceClass::AdminFailure);
        assert_eq!(class(450, "later"), BounceClass::TransientFailure);
        assert_eq!(class(554, "5.4.7 [internal] exceeded max time without delivery"), BounceClass::Timeout);
    }
}
