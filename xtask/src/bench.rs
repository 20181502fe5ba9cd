//! `cargo xtask bench`: builds the server for release and hands over to the `bench` program; for `fabric`, builds the fabric and its peers.

use crate::packages;
use crate::run::{root, run, run_with};

/// Runs one benchmark, or lists them.
pub(crate) fn bench(args: &[&str]) -> Result<(), String> {
    if let ["fabric", rest @ ..] = args {
        return fabric(rest);
    }
    run("cargo", &["build", "--release", "--quiet", "--package", "posthaste", "--package", "bench"])?;
    let program = root().join("target/release/bench");
    let server = root().join("target/release/posthaste");
    run_with(&program.to_string_lossy(), args, &[("POSTHASTE", &server.to_string_lossy())])?;
    if args == ["list"] {
        println!("fabric     the fabric beside iceoryx2, ZeroMQ, nng, queues and sockets, against its targets");
    }
    Ok(())
}

/// The fabric beside its peers: a workspace of its own, so that no peer is ever built for the server.
fn fabric(args: &[&str]) -> Result<(), String> {
    packages::libnng()?;
    let target = root().join("target/bench-fabric");
    let manifest = root().join("bench/fabric/Cargo.toml");
    let build = ["build", "--release", "--quiet", "--manifest-path", &manifest.to_string_lossy()];
    // Whoever reads a payload where it lies must read as widely as the C library copies, or it is the reading that is measured.
    let env = [("CARGO_TARGET_DIR", &*target.to_string_lossy()), ("RUSTFLAGS", "-C target-cpu=native")];
    run_with("cargo", &build, &env)?;
    run(&target.join("release/driver").to_string_lossy(), args)
}
