//! What the session tells its driver, and what the driver answers.

use super::{Refusal, Refused, Transaction};
use crate::grammar::Greeting;
use message::{Address, Recipient};
use std::ops::Range;

/// What one call of [`super::Session::step`] came to.
#[derive(Debug)]
pub struct Step {
    /// Octets of the input that are done with; the next call wants the rest.
    pub consumed: usize,
    /// What the driver has to do.
    pub event: Event,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Event {
    /// Flush `out`, then read more. Input that was not consumed is the beginning of a line: it goes before what is read.
    NeedInput,
    /// These octets of the input are content, and `insert` follows them (it is empty unless line ends are being fixed).
    Body {
        /// Counted from the beginning of the input of this call.
        keep: Range<usize>,
        /// Octets that were missing.
        insert: &'static [u8],
    },
    /// Look at [`super::Session::question`] and call [`super::Session::answer`].
    Ask,
    /// The content is whole: store it, then call [`super::Session::stored`].
    Complete(Box<Transaction>),
    /// Drop the content kept so far: it will not be stored.
    Abandon,
    /// Something was refused: for the reject log. The reply is in `out` already.
    Refused(Refused),
    /// An answer is owed: [`super::Session::stored`] was not called yet.
    Waiting,
    /// Flush `out` and close.
    Close(Ending),
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said QUIT, or went.
    Agreed,
    /// We sent it away; it may be talking still, so that its last reply is lost if the connection is reset too early.
    Imposed,
}

/// What the session wants to know before it goes on.
#[derive(Debug)]
pub enum Question<'a> {
    /// May this client talk to us at all?
    Connect,
    /// May it greet with this name?
    Greeting(Greeting, &'a str),
    /// May it send from this reverse-path?
    Sender(&'a Transaction),
    /// May it send to this recipient?
    Recipient(&'a Transaction, &'a Recipient),
    /// May it send its content?
    Content(&'a Transaction),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Accept,
    /// Yes, and the recipient is this one instead.
    Redirect(Address),
    /// No; the session goes on, unless the code is 421 or the question was [`Question::Connect`].
    Refuse(Refusal),
}
