//! The project's own chores: check, test, bench
fn main() {}
