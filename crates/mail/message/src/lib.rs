//! What a message is, and the records in which rooms hand it on.
//!
//! ```text
//!  reception ── Message ──► spool ── StoreKey ──► routing ── Routed ──► scheduling ── Lease ──► delivery
//!                                                                            ▲                     │
//!                                                                            └──── Attempted ──────┘
//!  every room ── Event ──► record
//! ```
//!
//! Every crate of `mail`, `rooms` and `services` may use this one; it uses `fabric` only. It has no I/O, no clock and
//! no randomness: the time of day is a [`UnixMicros`] argument.
//!
//! Budget: a received message costs one allocation for the [`Message`], one for its recipients, one an address, and
//! none for its body, which stays in the windows that the socket was read into.

mod address;
mod body;
mod codec;
pub mod dsn;
mod envelope;
mod event;
mod handover;
mod id;
mod message;
mod reply;
mod time;

pub use address::{Address, AddressError, Domain};
pub use body::Body;
pub use codec::{DecodeError, MetaDecoder, decode_meta, encode_meta};
pub use envelope::{BodyType, Envelope, Notify, Recipient, Return, Utf8};
pub use event::{
    About, Attempt, Complaint, Event, EventSink, Failing, Lasting, Operation, Rejection, Returned, Shaped, ShapedBy,
};
pub use handover::{
    Agent, Attempted, Closing, Container, Dial, Entrance, Host, Lease, LeasedRecipient, Outcome, Priority, Queued,
    Routed, Spool, SpoolStream, StoreError, StoreKey, Tenant, Verdict, Work,
};
pub use id::{IdSource, LegacyId, MessageId};
pub use message::{Content, Dots, Message, Protocol, Reception};
pub use reply::{Enhanced, Reply, Stage};
pub use time::UnixMicros;
