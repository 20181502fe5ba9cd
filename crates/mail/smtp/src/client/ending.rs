//! How a connection ended, and what that means for mail in flight: the `[internal]` replies of logs and bounces.

use crate::reply::ReplyError;
use message::{Reply, Stage};

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We said QUIT.
    Quit,
    /// The peer's greeting or its reply to EHLO was a refusal, verbatim.
    Refused {
        /// What it said.
        reply: Reply,
        /// Where.
        stage: Stage,
    },
    /// The peer said 421, or refused RSET.
    Rebuffed {
        /// What it said.
        reply: Reply,
        /// Where.
        stage: Stage,
    },
    /// The peer closed or reset the connection.
    Lost {
        /// Where.
        stage: Stage,
    },
    /// The peer took too long.
    TimedOut {
        /// Where.
        stage: Stage,
        /// For what, as the log's text has it: `MAIL FROM`.
        awaited: &'static str,
    },
    /// The peer said what nothing can be made of.
    Garbled {
        /// Where.
        stage: Stage,
        /// What was wrong.
        garble: Garble,
    },
    /// We could not go on: the driver's reason.
    Abandoned {
        /// Stands in logs.
        reply: Reply,
        /// Where.
        stage: Stage,
    },
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garble {
    /// It is no reply.
    Unreadable(ReplyError),
    /// Its code has no meaning here, such as 250 to DATA.
    WrongCode(u16),
    /// Nothing was asked.
    Unasked(u16),
    /// A positive reply to content that was not sent yet.
    Early(u16),
}

impl Ending {
    /// What stands in logs for the recipients in flight.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Quit => Reply::new(221, "2.0.0 [internal] connection closed"),
            Self::Refused { reply, .. } | Self::Rebuffed { reply, .. } | Self::Abandoned { reply, .. } => reply.clone(),
            Self::Lost { .. } => Reply::new(451, "4.4.2 [internal] connection closed by remote host"),
            Self::TimedOut { awaited, .. } => {
                Reply { code: 451, text: format!("4.4.2 [internal] no {awaited} response").into() }
            }
            Self::Garbled { garble, .. } => Reply { code: 451, text: format!("4.5.0 [internal] {garble}").into() },
        }
    }

    /// How far the conversation had come.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Quit => Stage::Idle,
            Self::Refused { stage, .. }
            | Self::Rebuffed { stage, .. }
            | Self::Lost { stage }
            | Self::TimedOut { stage, .. }
            | Self::Garbled { stage, .. }
            | Self::Abandoned { stage, .. } => *stage,
        }
    }
}

impl std::fmt::Display for Garble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::WrongCode(code) => write!(f, "reply {code} makes no sense here"),
            Self::Unasked(code) => write!(f, "reply {code} to no command"),
            Self::Early(code) => write!(f, "reply {code} before the end of the message"),
        }
    }
}
