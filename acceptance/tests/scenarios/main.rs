//! The real binary on real sockets and disks, one file a subject.

mod bad_input;
mod command_line;
mod drain_and_reload;
mod durability;
mod logs;
mod next_hops;
mod relay;
mod service_manager;
mod tarpit;
