//! The fabric over sockets: `tcp://host:port` and `vsock://cid:port`.
//!
//! A program names this crate once (`use fabric_net as _;`) and finds its providers by scheme. It knows nothing of messages, and never blocks,
//! except that `open` asks the system for the addresses of a host's name.
//!
//! ```text
//!  Provider ─► Listener or Dialer ─ Visit (connect, TLS, hello) ─► Link
//!              address, socket, hello                               Outlet ─ Writer ─┐
//!                                                                   Inlet ── Reader ─┴─ Stream (TLS?) or rings ─ socket
//! ```
//!
//! # On the wire
//! Windows as they lie in memory (`fabric::wire`), header first, both lanes over one connection: flag 1 of the header says urgent. Between them
//! control frames of 48 bytes (`PHC1`): credit, progress, the end. The introduction is one [`hello`] of 64 bytes from each side.
//!
//! # Flow
//! A window costs its sender a credit, which the reader gives back when it disposes of the window. So neither side ever holds more than the agreed
//! windows: as many as the sender has, as the reader accepts, and as lie in 64 MiB (at least 2). Death is an end of the connection without a last
//! control frame; a host that falls silent is given up after 25 s (`?dead=`).
//!
//! # Engines
//! `via=epoll` is vectored calls and an epoll descriptor, `via=uring` is io_uring where the kernel has it, on request (docs/decisions/0012); a provider's
//! name and each peer's name say which.
//! TLS 1.3 (`?tls=on`) always runs over `epoll`.
//!
//! # Budget for a window
//!
//! | | system calls | copies besides the kernel's | allocations | locks, uncontended |
//! |---|---|---|---|---|
//! | ship, socket has room | 1 | 0 | 0 | 2 |
//! | receive, 16 KiB and more, in a stream | 1, at each piece that arrives | ≤ 512 B | 0 | 2 |
//! | receive, smaller | 1 for all that lie in 16 KiB | 1 | 0 | 2 |
//! | credit | ¼ of a call of 48 bytes, none when a window goes the other way | | 0 | 1 |
//! | look for what is not there | 1 (epoll), 0 (uring) | | | 1 |
//!
//! With checksums, sender and reader each read the window once more (CRC-32C).

#[cfg(not(loom))]
mod address;
#[cfg(not(loom))]
mod assembler;
#[cfg(not(loom))]
mod bell;
#[cfg(not(loom))]
mod buffer;
#[cfg(not(loom))]
mod control;
#[cfg(not(loom))]
mod counters;
#[cfg(not(loom))]
mod dialer;
#[cfg(not(loom))]
pub mod hello;
#[cfg(not(loom))]
mod link;
#[cfg(not(loom))]
mod listener;
#[cfg(not(loom))]
mod provider;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod socket;
#[cfg(not(loom))]
mod stream;
#[cfg(all(feature = "tls", not(loom)))]
mod tls;
#[cfg(not(loom))]
mod visit;
#[cfg(not(loom))]
mod wake;
#[cfg(not(loom))]
mod writer;
