//! Enumerations: options whose value is one of a few words.

use super::{Kind, OptionValue, malformed, toml_string, wrong_type};
use crate::error::Problem;
use crate::suggest::nearest;
use crate::toml::Item;

/// Declares an enumeration and its words. `= "word"` follows each variant.
macro_rules! keyword {
    (
        $(#[doc = $doc:literal])+
        $ty:ident ($name:literal, $notation:literal) {
            $( #[doc = $meaning:literal] $variant:ident = $word:literal; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $ty {
            $( #[doc = $meaning] $variant, )+
        }

        impl $ty {
            /// The word of the file.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( $ty::$variant => $word, )+ }
            }
        }

        impl OptionValue for $ty {
            const KIND: Kind = Kind { name: $name, notation: $notation, words: &[ $( ($word, $meaning), )+ ], list: false };

            fn from_item(item: &Item) -> Result<Self, Problem> {
                match item {
                    Item::Text(text) => Self::from_text(text),
                    Item::Boolean(flag) => {
                        let word = if *flag { "on" } else { "off" };
                        let known = Self::KIND.words.iter().any(|(known, _)| *known == word);
                        Err(wrong_type(&Self::KIND, item).propose(known.then_some(word)))
                    }
                    other => Err(wrong_type(&Self::KIND, other)),
                }
            }

            fn from_text(text: &str) -> Result<Self, Problem> {
                match text {
                    $( $word => Ok($ty::$variant), )+
                    other => Err(unknown_word(&Self::KIND, other)),
                }
            }

            fn to_toml(&self) -> String {
                toml_string(self.word())
            }
        }
    };
}

fn unknown_word(kind: &Kind, text: &str) -> Problem {
    let words = kind.words.iter().map(|(word, _)| *word);
    malformed(kind, text).propose(nearest(text, words))
}

keyword! {
    /// What a 250 means.
    Durability ("durability class", "\"durable\", \"relaxed\" or \"memory\"") {
        /// On stable storage.
        Durable = "durable";
        /// Written, synced within a second: a power cut may lose that second, a crash of the server nothing.
        Relaxed = "relaxed";
        /// Written, synced when a segment is full: a power cut may lose more; a memory store ends with the server.
        Memory = "memory";
    }
}

keyword! {
    /// The kind of store.
    Store ("store", "\"journal\", \"files\" or \"memory\"") {
        /// One log of many messages, with group commit.
        Journal = "journal";
        /// Two files for each message in hashed directories.
        Files = "files";
        /// Nothing on disk.
        Memory = "memory";
    }
}

keyword! {
    /// What a listener speaks.
    Protocol ("protocol", "\"smtp\", \"submission\", \"lmtp\", \"http\" or \"ipc\"") {
        /// Mail from other servers (RFC 5321).
        Smtp = "smtp";
        /// Mail from users' programs (RFC 6409).
        Submission = "submission";
        /// Mail for local delivery, with one reply per recipient (RFC 2033).
        Lmtp = "lmtp";
        /// Injection over HTTP.
        Http = "http";
        /// Injection over the fabric.
        Ipc = "ipc";
    }
}

keyword! {
    /// What happens to a client that talks before it was greeted.
    EarlyTalker ("way to treat early talkers", "\"reject\" or \"ignore\"") {
        /// 554 and the end of the session.
        Reject = "reject";
        /// Nothing.
        Ignore = "ignore";
    }
}

keyword! {
    /// What happens to a bare CR or LF.
    LineEndings ("way to treat line endings", "\"reject\" or \"fix\"") {
        /// The message is refused.
        Reject = "reject";
        /// It becomes CRLF and never ends a message.
        Fix = "fix";
    }
}

keyword! {
    /// Whether connections start with the header of the PROXY protocol.
    ProxyProtocol ("use of the PROXY protocol", "\"off\" or \"required\"") {
        /// They do not.
        Off = "off";
        /// They must.
        Required = "required";
    }
}

keyword! {
    /// When a missing header field is added.
    AddHeader ("condition for a header", "\"never\", \"submission\" or \"always\"") {
        /// Never.
        Never = "never";
        /// On listeners with the protocol `submission`.
        Submission = "submission";
        /// On every listener.
        Always = "always";
    }
}

keyword! {
    /// Whether IPv6 addresses of a host are used.
    Ipv6Use ("use of IPv6", "\"never\", \"allow\" or \"prefer\"") {
        /// IPv4 only.
        Never = "never";
        /// Both families alike.
        Allow = "allow";
        /// IPv6 addresses first.
        Prefer = "prefer";
    }
}

keyword! {
    /// How fast a queue comes to its number of connections.
    ConnectionRamp ("connection ramp", "\"gradual\" or \"straight\"") {
        /// Two at first, one more for each delivery.
        Gradual = "gradual";
        /// As many as there is mail, at once.
        Straight = "straight";
    }
}

keyword! {
    /// What becomes of a recipient on the suppression list.
    SuppressionAction ("way to treat suppressed recipients", "\"off\", \"reject\" or \"discard\"") {
        /// Nothing: the list is not asked.
        Off = "off";
        /// It is refused with 550 5.1.0 when the client names it.
        Reject = "reject";
        /// It is accepted, and fails at once: logged, and reported to the sender as other failures are.
        Discard = "discard";
    }
}

keyword! {
    /// The kind of mail that entries of the suppression list are for.
    SuppressedKind ("kind of mail", "\"all\", \"transactional\" or \"non_transactional\"") {
        /// Both, or not known: any entry holds for it.
        All = "all";
        /// Mail that somebody waits for: receipts, passwords.
        Transactional = "transactional";
        /// Newsletters and other mail to many.
        NonTransactional = "non_transactional";
    }
}

keyword! {
    /// Whether the rules of traffic shaping are followed.
    ShapingMode ("mode of traffic shaping", "\"on\", \"dry-run\" or \"off\"") {
        /// They are.
        On = "on";
        /// What they decide is told in the log, and nothing is done.
        DryRun = "dry-run";
        /// Replies are not looked at, and what was decided before does not hold.
        Off = "off";
    }
}

keyword! {
    /// What puts a recipient on the suppression list: a failure of this class, or a complaint.
    SuppressionCause ("cause", "a bounce class such as \"invalid-recipient\", or \"complaint\"") {
        /// Class 1.
        Undetermined = "undetermined";
        /// Class 10.
        InvalidRecipient = "invalid-recipient";
        /// Class 20.
        SoftBounce = "soft-bounce";
        /// Class 21.
        DnsFailure = "dns-failure";
        /// Class 22.
        MailboxFull = "mailbox-full";
        /// Class 23.
        TooLarge = "too-large";
        /// Class 24.
        Timeout = "timeout";
        /// Class 25.
        AdminFailure = "admin-failure";
        /// Class 30.
        NoRecipient = "no-recipient";
        /// Class 40.
        GenericBounce = "generic-bounce";
        /// Class 50.
        MailBlock = "mail-block";
        /// Class 51.
        SpamBlock = "spam-block";
        /// Class 52.
        SpamContent = "spam-content";
        /// Class 53.
        ProhibitedAttachment = "prohibited-attachment";
        /// Class 54.
        RelayingDenied = "relaying-denied";
        /// Class 60.
        AutoReply = "auto-reply";
        /// Class 70.
        TransientFailure = "transient-failure";
        /// Class 80.
        Subscribe = "subscribe";
        /// Class 90.
        Unsubscribe = "unsubscribe";
        /// Class 100.
        ChallengeResponse = "challenge-response";
        /// A complaint of a feedback loop.
        Complaint = "complaint";
    }
}

keyword! {
    /// What becomes of a message that came back when it has been read.
    IntakeAction ("way to treat what came back", "\"discard\" or \"relay\"") {
        /// It is gone.
        Discard = "discard";
        /// It goes on to its recipient by the routes of that domain.
        Relay = "relay";
    }
}

keyword! {
    /// The format of a log.
    LogFormat (
        "log format that this release writes",
        "\"ec\", \"bounce\", \"feedback\", \"reject\" or \"shaping\""
    ) {
        /// The main log in the ec format.
        Ec = "ec";
        /// The bounce log in the ec format.
        Bounce = "bounce";
        /// The log of complaints in the ec format.
        Feedback = "feedback";
        /// The reject log in the ec format.
        Reject = "reject";
        /// The decisions of traffic shaping.
        Shaping = "shaping";
    }
}

keyword! {
    /// An event that a log may write.
    LogEvent ("log event", "a word such as \"reception\", \"delivery\" or \"permanent\"") {
        /// A message was accepted.
        Reception = "reception";
        /// A recipient was delivered.
        Delivery = "delivery";
        /// An attempt failed and will be repeated.
        Transient = "transient";
        /// A recipient failed for good.
        Permanent = "permanent";
        /// A failure came back as a message of its own.
        OutOfBand = "out_of_band";
        /// A recipient complained.
        Complaint = "complaint";
        /// A session's command or message was refused.
        Rejection = "rejection";
    }
}
