//! What rooms ask about marks: signs on outgoing mail that lead a bounce or a complaint back to its recipient.

use message::{Address, MessageId};

/// Marks outgoing mail. Asked on event loops for each transaction: an answer may not block.
pub trait Marks: Send + Sync {
    /// The return path for one recipient, in this domain; `None` if it makes no address, and the sender's stays.
    fn return_path(&self, domain: &str, id: MessageId, recipient: &Address) -> Option<Address>;

    /// A header field for one recipient, with its line end.
    fn header(&self, id: MessageId, recipient: &Address) -> String;
}
