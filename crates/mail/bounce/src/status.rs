//! What codes alone say: enhanced status codes (RFC 3463 and the registry that RFC 5248 founded), then the three digits of
//! the reply. The classifier asks here when no rule matches. Reads no text.

use crate::class::Class;
use crate::said::Phase;
use message::Enhanced;

/// The class of an enhanced status code; `None` if it says no more than success.
pub fn class_of_status(status: Enhanced) -> Option<Class> {
    let Enhanced(class, subject, detail) = status;
    if class == 2 {
        return None;
    }
    let lasting = match (subject, detail) {
        (1, 0 | 4 | 5) => Class::GenericBounce,
        (1, 1 | 2 | 3 | 6 | 9 | 10) => Class::InvalidRecipient,
        (1, 7 | 8) => Class::MailBlock,
        (2, 1) => Class::InvalidRecipient,
        (2, 2) => Class::MailboxFull,
        (2, 3) => Class::TooLarge,
        (2, _) => Class::SoftBounce,
        (3, 1) => Class::MailboxFull,
        (3, 4) => Class::TooLarge,
        (3, 5) => Class::AdminFailure,
        (3, _) => Class::SoftBounce,
        (4, 0 | 1 | 2 | 5) if class == 5 => Class::SoftBounce,
        (4, 3 | 4) => Class::DnsFailure,
        (4, 6) => Class::AdminFailure,
        (4, 7) => Class::Timeout,
        (5, 3) => Class::SoftBounce,
        (5, _) => Class::AdminFailure,
        (6, _) => Class::ProhibitedAttachment,
        (7, 4..=7) => Class::AdminFailure,
        // 5.7.25 to 5.7.27: no reverse DNS, too many failed checks, a domain that takes no mail.
        (7, _) => Class::MailBlock,
        _ => Class::GenericBounce,
    };
    // What is refused for now is a wait, unless the code names something that is worth telling apart even so.
    let telling =
        matches!(lasting, Class::MailboxFull | Class::TooLarge | Class::DnsFailure | Class::Timeout | Class::MailBlock);
    Some(if class == 4 && !telling { Class::TransientFailure } else { lasting })
}

/// The class of a reply's three digits; `None` if it is no failure, or not a reply's. 550 is the refusal of a mailbox only
/// where a mailbox is named; before and after, hosts use it for their policy.
pub fn class_of_code(code: u16, phase: Option<Phase>) -> Option<Class> {
    let early = matches!(phase, Some(Phase::Connect | Phase::Banner | Phase::Ehlo | Phase::Tls | Phase::Mail));
    let late = matches!(phase, Some(Phase::Data | Phase::Content));
    match code {
        400..=499 => Some(Class::TransientFailure),
        550 | 551 | 553 | 554 if early => Some(Class::MailBlock),
        550 | 551 | 553 if late => Some(Class::GenericBounce),
        550 | 551 | 553 => Some(Class::InvalidRecipient),
        552 => Some(Class::MailboxFull),
        // RFC 7504: the host takes no mail.
        521 | 556 => Some(Class::InvalidRecipient),
        500..=509 | 530 | 534 | 535 | 538 => Some(Class::AdminFailure),
        500..=599 => Some(Class::GenericBounce),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_tell_more_than_digits() {
        let class = |text| class_of_status(Enhanced::parse(text).unwrap());
        assert_eq!(class("5.1.1"), Some(Class::InvalidRecipient));
        assert_eq!(class("5.2.2"), Some(Class::MailboxFull));
        assert_eq!(class("4.2.2"), Some(Class::MailboxFull));
        assert_eq!(class("5.3.4"), Some(Class::TooLarge));
        assert_eq!(class("5.4.4"), Some(Class::DnsFailure));
        assert_eq!(class("5.4.7"), Some(Class::Timeout));
        assert_eq!(class("5.7.1"), Some(Class::MailBlock));
        assert_eq!(class("4.7.1"), Some(Class::MailBlock));
        assert_eq!(class("4.1.1"), Some(Class::TransientFailure));
        assert_eq!(class("5.9.9"), Some(Class::GenericBounce));
        assert_eq!(class("2.1.5"), None);
    }

    #[test]
    fn digits_are_the_last_resort() {
        assert_eq!(class_of_code(421, None), Some(Class::TransientFailure));
        assert_eq!(class_of_code(550, None), Some(Class::InvalidRecipient));
        assert_eq!(class_of_code(550, Some(Phase::Rcpt)), Some(Class::InvalidRecipient));
        assert_eq!(class_of_code(550, Some(Phase::Mail)), Some(Class::MailBlock));
        assert_eq!(class_of_code(550, Some(Phase::Content)), Some(Class::GenericBounce));
        assert_eq!(class_of_code(554, None), Some(Class::GenericBounce));
        assert_eq!(class_of_code(250, None), None);
        assert_eq!(class_of_code(999, None), None);
    }
}
