//! Rows of `[bounce]` and `[feedback]`: what a failure is called, how bounces and complaints find their way back, and where
//! they come in.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, section};
use crate::value::{DomainSet, HeaderName, IntakeAction, Mailbox, MarkPrefix, OptionalName};

section! {
    /// Bounces: the classes of failures, the marks that lead a bounce back to its recipient, and the addresses at which
    /// messages come back. `docs/bounces.md` tells of all three.
    BounceOptions from BounceStanza {
        /// Files of rules that give failures their class. They extend the built-in ones, and are asked before them.
        rules: Vec<PathBuf> = default("");
        /// Domains whose whole mail is bounces, from any client: the `verp_domain` of what leaves, if it comes back to
        /// this server.
        domains: DomainSet = default("");
        /// Further addresses at which bounces come in, from any client. An address behind whose local part `+` and more
        /// stands is the same address.
        addresses: Vec<Mailbox> = default("");
        /// What becomes of a bounce when it has been read.
        action: IntakeAction = default("discard");
        /// Files with the keys of marks, one key of 16 octets or more in each. The first makes marks, at most three others
        /// are being phased out.
        keys: Vec<PathBuf> = default("");
        /// What the local part of a signed return path begins with.
        prefix: MarkPrefix = default("b");
        /// Marks that are older count for nothing.
        mark_age: Duration = default("30d").range("1h", "3650d");
        /// The header field of the mark that `feedback_mark` adds.
        mark_header: HeaderName = default("X-Posthaste-Mark");
    }
}

section! {
    /// Feedback loops: complaints (RFC 5965) that mailbox providers send back.
    FeedbackOptions from FeedbackStanza {
        /// The addresses at which complaints come in, from any client. An address behind whose local part `+` and more
        /// stands is the same address.
        addresses: Vec<Mailbox> = default("");
        /// What becomes of a complaint when it has been read.
        action: IntakeAction = default("discard");
        /// The last field of each row in logs of the format `feedback`.
        user_string: OptionalName = default("");
    }
}
