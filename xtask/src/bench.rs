//! `cargo xtask bench`: builds the server for release and hands over to the `bench` program.

use crate::run::{root, run, run_with};

/// Runs one benchmark, or lists them.
pub(crate) fn bench(args: &[&str]) -> Result<(), String> {
    run("cargo", &["build", "--release", "--quiet", "--package", "posthaste", "--package", "bench"])?;
    let program = root().join("target/release/bench");
    let server = root().join("target/release/posthaste");
    run_with(&program.to_string_lossy(), args, &[("POSTHASTE", &server.to_string_lossy())])
}
