//! The real binary on real sockets and disks, one file a subject.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod bad_input;
mod bindings;
mod bounces;
mod command_line;
mod demo;
mod drain_and_reload;
mod durability;
mod exits;
mod full_disk;
mod hosts;
mod limits;
mod lmtp;
mod logs;
mod names;
mod next_hops;
mod operations;
mod postfix;
mod proxy;
mod queues;
mod relay;
mod reports;
mod returns;
mod service_manager;
mod shaping;
mod sites;
mod sources;
mod stores;
mod suppression;
mod tarpit;
