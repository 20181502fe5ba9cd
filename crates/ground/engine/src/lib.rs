//! Event loops, thread pools, timers, memory accounts and the calls to the operating system
