//! `cargo xtask test`: installs what the tests need, builds the server once, then runs every test.

use crate::instructions::instructions;
use crate::packages;
use crate::run::{found, root, run, run_with};

/// Runs all tests, or those whose names hold one of `filters`.
pub(crate) fn test(filters: &[&str]) -> Result<(), String> {
    packages::install()?;
    // The acceptance tests drive this binary; same profile, so nothing is built twice.
    run("cargo", &["build", "--quiet", "--package", "posthaste"])?;
    let peers = packages::peers();
    let peers = peers.to_string_lossy();
    let env = [("POSTHASTE_PEERS", &*peers)];
    if found("cargo-nextest") || run("cargo", &["nextest", "--version"]).is_ok() {
        let mut args = vec!["nextest", "run", "--workspace", "--no-fail-fast"];
        args.extend(filters);
        run_with("cargo", &args, &env)?;
    } else {
        let mut args = vec!["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
        args.extend(filters);
        run_with("cargo", &args, &env)?;
    }
    if filters.is_empty() {
        run_with("cargo", &["test", "--workspace", "--doc", "--quiet"], &env)?;
        loom()?;
        instructions()?;
    }
    Ok(())
}

/// Every interleaving of the rings and wake-ups, in each crate that has models.
fn loom() -> Result<(), String> {
    const MODELS: &[(&str, &[&str])] = &[("fabric", &["loom", "ipc_loom", "queue_loom"]), ("fabric-net", &["loom"])];
    for (package, tests) in MODELS {
        let mut args = vec!["test", "--quiet", "--package", package, "--release", "--target-dir", "target/loom"];
        args.extend(tests.iter().flat_map(|test| ["--test", test]));
        run_with("cargo", &args, &[("RUSTFLAGS", "--cfg loom")])?;
    }
    Ok(())
}

/// Runs each fuzz target for `seconds`, with the nightly toolchain and cargo-fuzz, which is built if it is missing.
/// Findings are kept in `fuzz/artifacts`, seeds come from `fuzz/seeds`.
pub(crate) fn fuzz(seconds: u32) -> Result<(), String> {
    let tools = root().join("target/tools");
    if !found("cargo-fuzz") && !tools.join("bin/cargo-fuzz").exists() {
        eprintln!("building cargo-fuzz below target/tools");
        run("cargo", &["install", "--quiet", "cargo-fuzz", "--root", &tools.to_string_lossy()])?;
    }
    let path = format!("{}:{}", tools.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let targets = root().join("fuzz/fuzz_targets");
    let limit = format!("-max_total_time={seconds}");
    let entries = std::fs::read_dir(&targets).map_err(|error| format!("{}: {error}", targets.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(target) = name.strip_suffix(".rs") else { continue };
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        std::fs::create_dir_all(root().join(&corpus)).map_err(|error| format!("{corpus}: {error}"))?;
        let args = ["+nightly", "fuzz", "run", target, &corpus, &seeds, "--", &limit, "-rss_limit_mb=2048"];
        run_with("cargo", &args, &[("PATH", &path)])?;
    }
    Ok(())
}
