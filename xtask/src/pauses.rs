//! `cargo xtask pauses`: the conformance suite of the fabric with pauses at random between its statements.
//!
//! A wake-up that gets lost when a thread is held up at the worst place shows once in ten thousand runs, and here in the first. The sources are
//! copied below `target/pauses`, each statement of the fabric gets a call in front of it that sleeps now and then, and the suite runs there with several
//! rates. Scenarios that demand a pace of a channel may fail at the highest rate; nothing else may.

use std::fs;
use std::path::Path;

use crate::run::{output, root, run_with};

/// Calls between two pauses, on average: many short interruptions, few, hardly any.
const RATES: [&str; 3] = ["500", "3000", "20000"];
const SCHEMES: [&str; 4] = ["inproc", "ipc", "tcp?via=epoll", "tcp?via=uring"];
/// The crates that are tried, and how they name the call.
const TRIED: [(&str, &str); 2] =
    [("crates/ground/fabric/src/", "crate::pause()"), ("crates/ground/fabric-net/src/", "fabric::pause()")];

/// What is put at the end of the fabric's root.
const PAUSE: &str = r#"
thread_local! { static LOTTERY: std::cell::Cell<u64> = const { std::cell::Cell::new(0) } }
/// Sleeps up to three milliseconds, once in as many calls as the environment says.
#[doc(hidden)]
#[inline(never)]
pub fn pause() {
    static RATE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let rate = *RATE.get_or_init(|| std::env::var("FABRIC_PAUSES").ok().and_then(|rate| rate.parse().ok()).unwrap_or(0));
    if rate == 0 {
        return;
    }
    LOTTERY.with(|lottery| {
        let seed = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64) | 1;
        let mut x = match lottery.get() {
            0 => seed(),
            x => x,
        };
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        lottery.set(x);
        if (x >> 20).is_multiple_of(rate) {
            std::thread::sleep(std::time::Duration::from_micros((x >> 40) % 3000));
        }
    });
}
"#;

/// Runs the suite with every rate, or with those given.
pub(crate) fn pauses(rates: &[&str]) -> Result<(), String> {
    let tree = root().join("target/pauses/tree");
    let places = copy(&tree)?;
    eprintln!("{places} places to pause at");
    let (manifest, target) = (tree.join("Cargo.toml"), root().join("target/pauses/build"));
    let (manifest, target) = (manifest.to_string_lossy(), target.to_string_lossy());
    let build = ["build", "--manifest-path", &manifest, "--target-dir", &target, "--package", "fabric-conformance"];
    run_with("cargo", &build, &[("RUSTFLAGS", "--cap-lints allow")])?;
    let program = format!("{target}/debug/fabric-conformance");
    let mut failed = Vec::new();
    for rate in if rates.is_empty() { &RATES } else { rates } {
        for scheme in SCHEMES {
            if let Err(why) = run_with(&program, &["--scheme", scheme], &[("FABRIC_PAUSES", rate)]) {
                failed.push(format!("a pause in {rate} calls: {why}"));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Copies the tree as it is, with pauses; says how many.
fn copy(tree: &Path) -> Result<usize, String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut places = 0;
    for name in output("git", &["ls-files"])?.lines() {
        let (from, to) = (root().join(name), tree.join(name));
        let Ok(mut bytes) = fs::read(&from) else { continue };
        if let Some((_, call)) = TRIED.iter().find(|(folder, _)| name.starts_with(folder) && name.ends_with(".rs")) {
            let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            let (mut text, count) = with_pauses(&text, call);
            places += count;
            if name == "crates/ground/fabric/src/lib.rs" {
                text.push_str(PAUSE);
            }
            bytes = text.into_bytes();
        }
        // What has not changed keeps its time, so that it is not built again.
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        let folder = to.parent().unwrap_or(tree);
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        fs::write(&to, bytes).map_err(|error| failed(&to, error))?;
    }
    Ok(places)
}

/// The text with a call in front of every statement that follows a whole statement within a function. (Lines are all that is looked at: rustfmt has put
/// one statement on each.)
fn with_pauses(text: &str, call: &str) -> (String, usize) {
    const STATEMENTS: [&str; 12] =
        ["let ", "self.", "if ", "match ", "while ", "loop ", "for ", "drop(", "lock(", "fence(", "shared.", "Ok("];
    const NO_STATEMENTS: [&str; 9] = ["use ", "pub ", "pub(", "const ", "static ", "type ", "mod ", "#", "//"];
    let (mut result, mut count, mut before) = (String::with_capacity(text.len() * 2), 0, "");
    // What is computed while compiling does not sleep.
    let mut constant = false;
    // Tests stand at the end, and models have threads of their own.
    let end = text.find("#[cfg(all(test").or_else(|| text.find("#[cfg(test")).unwrap_or(text.len());
    for line in text[..end].lines() {
        let statement = line.trim_start();
        if statement.contains("fn ") {
            constant = statement.contains("const fn ");
        }
        let follows = before.ends_with(';') && !NO_STATEMENTS.iter().any(|word| before.starts_with(word));
        let within = line.len() - statement.len() >= 8;
        if follows && within && !constant && STATEMENTS.iter().any(|word| statement.starts_with(word)) {
            result.push_str(call);
            result.push_str(";\n");
            count += 1;
        }
        result.push_str(line);
        result.push('\n');
        if !statement.is_empty() && !statement.starts_with("//") {
            before = statement;
        }
    }
    result.push_str(&text[end..]);
    (result, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_behind_a_statement_gets_a_pause() {
        let text = "use a;\nfn f(&self) {\n    let x = Y {\n        a: [0; 4],\n    };\n    if x {\n        self.a();\n        // now\n        self.b();\n    }\n}\n";
        let (with, count) = with_pauses(text, "pause()");
        assert_eq!(count, 1);
        assert!(with.contains("// now\npause();\n        self.b();"), "{with}");
    }
}
