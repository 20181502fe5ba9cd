//! Nothing: see `benches/messages.rs`.
