//! Publishing: one message, many readers, none of whom can hold up the others.
//!
//! A [`Publisher`] listens at one address; every [`Subscriber`] that connects has a link of its own, with windows, credit and leases of its own.
//! What lies in the publisher's arena is written once and lent to all of them: the window is free again when the last has let go of it.
//!
//! ```text
//!                       ┌─► queue ─► link ─► Subscriber      in time: every message
//!  publish(message) ────┼─► queue ─► link ─► Subscriber
//!   │                   └─✗ full    link ─► Subscriber      slow: misses some, then "7 missed", then goes on
//!   └─ frames: one window of the arena, counted references
//! ```
//!
//! - A reader without room is skipped, and told how many messages it missed before it gets the next: a message of kind
//!   [`Gap`](crate::wire::Kind::Gap), whose correlation is the number.
//! - A reader that keeps windows too long runs out of leases. From then on it is sent copies, where they fit its windows, and misses the rest.
//! - A reader that is gone takes its link with it, and what was lent to it comes back.
//! - A reader that comes late begins with the next message.
//!
//! Budget of a message: one clone of it (no allocation for small ones, one count for each shared frame) and one encoding for each reader.
//!
//! ```
//! # use fabric::channel::Deadline;
//! # use fabric::publish::{Heard, Publisher, Subscriber};
//! # use fabric::Message;
//! # use std::time::Duration;
//! let publisher = Publisher::builder("inproc:publish-doc").open()?;
//! let mut subscriber = Subscriber::connect("inproc:publish-doc")?;
//! assert!(publisher.wait_for_readers(1, Deadline::after(Duration::from_secs(10))));
//! publisher.publish(&Message::copied(b"news"));
//! match subscriber.next(Deadline::after(Duration::from_secs(10)))? {
//!     Heard::Message(message) => assert_eq!(message.bytes(), b"news"),
//!     Heard::Missed(count) => panic!("{count} missed"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod publisher;
mod reader;
mod subscriber;

pub use publisher::{Publisher, PublisherBuilder, PublisherStats};
pub use reader::{Published, ReaderStats};
pub use subscriber::{Heard, Subscriber};
