//! What a listener grants its sessions: extensions, limits and times, with the replies that follow from them.
//!
//! Reception makes one from a generation of the configuration; all sessions of the generation share it.

use crate::grammar::Extensions;
use crate::scanner::LineEndings;
use std::fmt::Write as _;
use std::time::Duration;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flavour {
    /// SMTP (RFC 5321).
    #[default]
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// What happens to a client that talks before it was greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EarlyTalker {
    /// 554 and the end.
    #[default]
    Reject,
    /// It is greeted at once.
    Allow,
}

/// The rules of a session. A limit of 0 means none where the text says so.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The name in the greeting.
    pub host: Box<str>,
    /// SMTP or LMTP.
    pub flavour: Flavour,
    /// CHUNKING, SMTPUTF8 and DSN; SIZE and 8BITMIME are always offered.
    pub extensions: Extensions,
    /// Whether PIPELINING is offered (RFC 2920). Commands sent together are understood in any case.
    pub pipelining: bool,
    /// Whether `MAIL FROM:<>` is taken.
    pub allow_null_sender: bool,
    /// Whether MAIL wants a greeting before it.
    pub require_greeting: bool,
    /// What a CR or LF alone means.
    pub line_endings: LineEndings,
    /// What a client that talks too early meets.
    pub early_talker: EarlyTalker,
    /// How long the greeting is held back.
    pub greeting_delay: Duration,
    /// Messages of a session; 0 is any number.
    pub messages_max: u32,
    /// Recipients of a message.
    pub recipients_max: u32,
    /// Recipients of a session; 0 is any number.
    pub session_recipients_max: u32,
    /// Octets of a message.
    pub message_bytes_max: u64,
    /// Refused commands, after which the session ends.
    pub errors_max: u32,
    /// Unknown commands, after which the session ends.
    pub unknown_max: u32,
    /// Commands that lead nowhere; one more ends the session.
    pub idle_commands_max: u32,
    /// Octets of a command line with its CRLF.
    pub command_bytes_max: usize,
    /// Octets of a line of content without its CRLF.
    pub text_line_max: u64,
    /// Octets of the header section.
    pub header_bytes_max: u64,
    /// Fields of the header section.
    pub header_fields_max: u32,
    /// Received fields of the header section.
    pub received_max: u32,
    /// Silence between commands.
    pub idle_timeout: Duration,
    /// One command from its first octet to its last.
    pub command_timeout: Duration,
    /// A pause in the content, and the grace before `data_rate_min` counts.
    pub data_timeout: Duration,
    /// Octets of content a second on average; 0 is any rate.
    pub data_rate_min: u64,
    /// The whole session, up to the next pause between transactions.
    pub session_timeout: Duration,
}

impl Rules {
    /// The defaults of the configuration, for a server of this name.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.into(),
            flavour: Flavour::Smtp,
            extensions: Extensions::ALL,
            pipelining: true,
            allow_null_sender: true,
            require_greeting: true,
            line_endings: LineEndings::Reject,
            early_talker: EarlyTalker::Reject,
            greeting_delay: Duration::ZERO,
            messages_max: 0,
            recipients_max: 1000,
            session_recipients_max: 0,
            message_bytes_max: 50 << 20,
            errors_max: 20,
            unknown_max: 10,
            idle_commands_max: 100,
            command_bytes_max: 4096,
            text_line_max: 10 << 20,
            header_bytes_max: 1 << 20,
            header_fields_max: 10_000,
            received_max: 100,
            idle_timeout: Duration::from_secs(300),
            command_timeout: Duration::from_secs(60),
            data_timeout: Duration::from_secs(180),
            data_rate_min: 500,
            session_timeout: Duration::from_secs(3600),
        }
    }
}

/// [`Rules`] with the replies made from them.
#[derive(Debug)]
pub struct Profile {
    pub(super) rules: Rules,
    pub(super) greeting: Box<str>,
    pub(super) hello: Box<str>,
    pub(super) extended_hello: Box<str>,
}

/// Most recipients that a message can have: their ids are 16 bits apart.
const RECIPIENTS_MAX: u32 = 65_535;

impl Profile {
    /// Makes the replies. Limits beyond what the formats hold are cut to what they hold.
    pub fn new(mut rules: Rules) -> Self {
        rules.recipients_max = rules.recipients_max.min(RECIPIENTS_MAX);
        let protocol = match rules.flavour {
            Flavour::Smtp => "ESMTP",
            Flavour::Lmtp => "LMTP",
        };
        Self {
            greeting: format!("220 {} {protocol} Posthaste\r\n", rules.host).into(),
            hello: format!("250 {}\r\n", rules.host).into(),
            extended_hello: extended_hello(&rules).into(),
            rules,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

fn extended_hello(rules: &Rules) -> String {
    let mut lines = vec![rules.host.to_string()];
    let mut offer = |offered: bool, line: &str| {
        if offered {
            lines.push(line.to_owned());
        }
    };
    offer(rules.pipelining, "PIPELINING");
    offer(true, &format!("SIZE {}", rules.message_bytes_max));
    offer(true, "8BITMIME");
    offer(rules.extensions.smtputf8, "SMTPUTF8");
    offer(rules.extensions.chunking, "CHUNKING");
    offer(rules.extensions.chunking, "BINARYMIME");
    offer(true, "ENHANCEDSTATUSCODES");
    offer(rules.extensions.dsn, "DSN");
    let mut limits = format!("LIMITS RCPTMAX={}", rules.recipients_max);
    if rules.messages_max > 0 {
        let _ = write!(limits, " MAILMAX={}", rules.messages_max);
    }
    offer(true, &limits);
    let last = lines.len() - 1;
    let mut reply = String::new();
    for (i, line) in lines.iter().enumerate() {
        let _ = write!(reply, "250{}{line}\r\n", if i == last { ' ' } else { '-' });
    }
    reply
}
