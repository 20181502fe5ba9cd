//! How one connection behaves: what the driver takes from the configuration and shares among a site's connections.

use std::sync::Arc;
use std::time::Duration;

/// Settings of a connection; one value serves all connections of a site.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SMTP or LMTP.
    pub dialect: Dialect,
    /// The name given in EHLO, HELO or LHLO; must hold neither space nor control octet.
    pub name: Arc<str>,
    /// Whether commands are grouped where the peer offers PIPELINING; never where it does not.
    pub grouping: Grouping,
    /// When the next transaction's commands may leave.
    pub ahead: Ahead,
    /// How long the peer may take.
    pub timeouts: Timeouts,
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and one reply a recipient behind the content.
    Lmtp,
}

/// Whether commands are sent in groups (RFC 2920).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Where the peer offers PIPELINING.
    #[default]
    Offered,
    /// Never: one command, one reply.
    Never,
}

/// When the next transaction's MAIL may leave (RFC 2920 §3.1 lets a group start with content).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ahead {
    /// Behind the reply to the content before.
    AfterReply,
    /// In the same write as the content before and its final dot, where the peer offers PIPELINING.
    #[default]
    WithContent,
}

/// How long the peer may take, by phase (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From connecting to the end of the greeting.
    pub greeting: Duration,
    /// For the reply to EHLO, HELO or LHLO.
    pub ehlo: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to one RCPT.
    pub rcpt: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For taking a part of the content, and for the reply behind its end.
    pub body: Duration,
    /// For the reply to RSET.
    pub rset: Duration,
    /// For the reply to QUIT.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            greeting: minutes(5),
            ehlo: minutes(5),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            body: minutes(10),
            rset: Duration::from_secs(30),
            quit: Duration::from_secs(5),
        }
    }
}
