//! DNS for mail: a caching stub resolver over `hickory-proto`'s wire format, implementing `policy::Resolve`.
//!
//! ```text
//!  any event loop                          one event loop
//!  Resolver ──► shards (cache) ── hit ──► answer
//!      │                ▲
//!      └─ miss ─ lane ──┼──► Driver: in flight ──► Exchange ──► Upstreams
//!             oneshot ◄─┴───────── answer ◄──────── sockets (UDP, TCP)
//! ```
//!
//! Every event loop holds a [`Resolver`], a handle that is cheap to clone. A look-up first reads the cache, which all
//! loops share in shards; only a miss goes to the [`Driver`], one task on one loop, which owns the table of questions in
//! flight. That choice makes three things hold without a protocol between loops: identical questions from any loops cost
//! one query, an asker that goes away takes nothing down with it, and one bound holds on sockets and on load towards the
//! servers. The price, two thread hops on a miss, is small beside the network.
//!
//! `cache`, `exchange`, `upstream`, `answer` are pure: `now`, bytes and random numbers are arguments. `driver` and
//! `transport` own the sockets.
//!
//! Budget: a hit costs one shard lock held for a hash look-up, no system call and no shared counter; rooms ask once a
//! domain container and lifetime of the answer, never once a message. A miss costs one datagram each way, six system
//! calls and one socket, of which there are [`ResolverOptions::exchanges_max`] at most. A cached answer weighs about half a
//! KiB; the whole cache is bounded in entries and bytes.
//!
//! What a hostile server can do is bounded: 64 KiB an answer, [`RECORDS_MAX`] records kept, [`ALIASES_MAX`] aliases, 16
//! foreign datagrams an attempt, and the deadline of the question.

mod answer;
mod cache;
mod driver;
mod exchange;
mod lookup;
mod options;
mod question;
mod resolv_conf;
mod resolver;
mod response;
mod sequence;
mod shards;
mod stats;
mod transport;
mod upstream;

pub use answer::{ALIASES_MAX, Answer, Failure, RECORDS_MAX, Records};
pub use driver::Driver;
pub use options::{ResolverOptions, SERVERS_MAX};
pub use question::{Question, RecordKind};
pub use resolv_conf::ResolvConf;
pub use resolver::Resolver;
pub use response::{Refusal, Response, ResponseError, parse_response};
pub use sequence::SequenceKey;
pub use stats::{KindStats, ResolverStats, ServerStats};
