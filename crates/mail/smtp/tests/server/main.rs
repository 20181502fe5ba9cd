//! The server session as a client sees it: octets in, replies out, no socket and no clock.

mod chunking;
mod content;
mod limits;
mod sequence;
mod talk;
mod timing;
