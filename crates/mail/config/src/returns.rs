//! The addresses at which mail comes back: bounces and complaints. Asked by reception for each recipient of a stranger, and
//! by whoever reads what comes in there.

use crate::config::Config;
use crate::pattern::DomainSet;
use crate::value::{IntakeAction, Mailbox};

/// What comes in at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnKind {
    /// Bounces.
    Bounce,
    /// Complaints.
    Feedback,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ReturnAddresses {
    domains: DomainSet,
    bounces: Vec<Mailbox>,
    complaints: Vec<Mailbox>,
    bounce_action: Option<IntakeAction>,
    feedback_action: Option<IntakeAction>,
}

impl ReturnAddresses {
    /// Those of a generation.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            domains: config.bounce.domains.clone(),
            bounces: config.bounce.addresses.clone(),
            complaints: config.feedback.addresses.clone(),
            bounce_action: Some(config.bounce.action),
            feedback_action: Some(config.feedback.action),
        }
    }

    /// What comes in at this address; `None`: it is an address like any other. An address of a list comes before the
    /// domains, whose postmasters are people (RFC 5321 §4.5.1). Costs a comparison for each address of the lists, which are short.
    #[must_use]
    pub fn kind(&self, local_part: &str, domain: &str) -> Option<ReturnKind> {
        let is = |mailbox: &Mailbox| is_at(mailbox, local_part, domain);
        if self.complaints.iter().any(is) {
            return Some(ReturnKind::Feedback);
        }
        let of_domain = || self.domains.contains(domain) && !local_part.eq_ignore_ascii_case("postmaster");
        (self.bounces.iter().any(is) || of_domain()).then_some(ReturnKind::Bounce)
    }

    /// What becomes of mail of this kind when it has been read.
    #[must_use]
    pub fn action(&self, kind: ReturnKind) -> IntakeAction {
        let action = match kind {
            ReturnKind::Bounce => self.bounce_action,
            ReturnKind::Feedback => self.feedback_action,
        };
        action.unwrap_or(IntakeAction::Discard)
    }
}

/// Whether an address is that mailbox, or the mailbox with `+` and more behind its local part. Case does not matter: hosts
/// change it on the way back.
fn is_at(mailbox: &Mailbox, local_part: &str, domain: &str) -> bool {
    let Some((own_local, own_domain)) = mailbox.rsplit_once('@') else { return false };
    let Some((head, tail)) = local_part.split_at_checked(own_local.len()) else { return false };
    own_domain.eq_ignore_ascii_case(domain)
        && own_local.eq_ignore_ascii_case(head)
        && (tail.is_empty() || tail.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_before_domains_and_detail_does_not_matter() {
        let text = "[bounce]\ndomains = [\"bounces.test\"]\naddresses = [\"bounces@example.org\"]\naction = \"relay\"\n\
                    [feedback]\naddresses = [\"fbl@bounces.test\"]\n";
        let returns = ReturnAddresses::of(&Config::parse("t", text).unwrap());
        for (local, domain, kind) in [
            ("anything", "bounces.test", Some(ReturnKind::Bounce)),
            ("b+1xyz-joe=example.org", "Bounces.Test", Some(ReturnKind::Bounce)),
            ("FBL", "bounces.test", Some(ReturnKind::Feedback)),
            ("fbl+aol", "bounces.test", Some(ReturnKind::Feedback)),
            ("fblx", "bounces.test", Some(ReturnKind::Bounce)),
            ("Bounces", "example.org", Some(ReturnKind::Bounce)),
            ("bounces+x", "EXAMPLE.org", Some(ReturnKind::Bounce)),
            ("bounce", "example.org", None),
            ("bouncesx", "example.org", None),
            ("bounces", "sub.bounces.test", None),
            ("bounceß", "example.org", None),
            ("Postmaster", "bounces.test", None),
        ] {
            assert_eq!(returns.kind(local, domain), kind, "{local}@{domain}");
        }
        assert_eq!(returns.action(ReturnKind::Bounce), IntakeAction::Relay);
        assert_eq!(returns.action(ReturnKind::Feedback), IntakeAction::Discard);
        assert_eq!(ReturnAddresses::default().kind("a", "b"), None);
    }
}
