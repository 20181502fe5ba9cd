//! The mail transfer agent: command line and composition
fn main() {}
