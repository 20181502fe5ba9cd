//! What a failure means, and whom it is about: replies and whole bounce messages to classes.
//!
//! ```text
//!  reply ──────────────► Classifier ──► Verdict: class, and the rule or code it follows from
//!  message that came back ─► examine ──► Finding: what it is; for each recipient action, status, class, who it was
//!                                └ who: the seal in the return path or header that we sent it with, then what it says
//! ```
//!
//! Pure: no file, no socket, no clock. A rule file is a text, a key is octets. Time and memory are bounded for any input:
//! 1 KiB of a reply and 1 MiB of a message are looked at.
//!
//! Budget: under 1 µs for a reply of usual length; `cargo xtask bench classify` measures it.

mod class;
mod classifier;
mod error;
mod examine;
mod feedback;
mod fields;
mod file;
mod finding;
mod mime;
mod plain;
mod report;
mod rule;
mod said;
mod seal;
mod status;
mod text_bounce;

pub use class::{CLASSES, Class, ClassRow, Kind, class_table};
pub use classifier::{Classifier, Explanation, PHRASES_MAX, RULES_MAX, Reason, Verdict};
pub use error::RuleError;
pub use examine::{Examiner, MESSAGE_MAX, RECIPIENTS_MAX};
pub use file::FILE_MAX;
pub use finding::{Action, Feedback, Finding, FoundRecipient, Sort, Source};
pub use plain::TEXT_MAX;
pub use rule::{Place, Rule};
pub use said::{Phase, Said};
pub use seal::{KEY_MIN, KEYS_MAX, KeyError, MARK_HEADER, MarkError, MarkedId, OpenError, Origin, PREFIX_MAX, Seal};
pub use status::{class_of_code, class_of_status};
