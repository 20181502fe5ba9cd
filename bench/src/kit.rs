//! Benchmarks that the side-by-side kit drives: it starts each mail server in a control group of its own, loads it, and
//! reports rates, latencies, CPU and memory.
//!
//! The kit is named by `POSTHASTE_BENCH_KIT`, or lies beside the checkout in `shared/bench`; its own README says how it
//! fetches other mail servers.

use crate::{Figure, Request};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn kit() -> Result<PathBuf, String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/bench");
    let path = std::env::var_os("POSTHASTE_BENCH_KIT").map_or(beside, PathBuf::from);
    match path.join("bench.py").exists() {
        true => Ok(path),
        false => Err(format!("no bench kit at {}: name its folder in POSTHASTE_BENCH_KIT", path.display())),
    }
}

/// Where the kit keeps other servers, spools and results.
fn work() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::env::var_os("BENCH_WORK").map_or(own, PathBuf::from)
}

/// Runs one scenario; its row.
fn run(peer: &str, scenario: &str, extra: &[&str]) -> Result<Value, String> {
    let (kit, work) = (kit()?, work());
    std::fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    if !work.join("target/release/mailload").exists() {
        eprintln!("setting the bench kit up in {}", work.display());
        let mut setup = Command::new("bash");
        setup.arg(kit.join("setup.sh")).env("BENCH_WORK", &work).stdout(Stdio::null());
        let status = setup.status().map_err(|error| format!("setup.sh: {error}"))?;
        if !status.success() {
            return Err(format!("setup.sh ended with {status}"));
        }
    }
    let mut command = Command::new("python3");
    command.arg(kit.join("bench.py")).args([peer, scenario]).args(extra);
    command.env("BENCH_WORK", &work).stdout(Stdio::null());
    let status = command.status().map_err(|error| format!("bench.py: {error}"))?;
    if !status.success() {
        return Err(format!("bench.py ended with {status}"));
    }
    let results = std::fs::read_to_string(work.join("results.jsonl")).map_err(|error| error.to_string())?;
    let row: Value = results.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
    match row["error"].as_str() {
        Some(error) => Err(format!("{peer} {scenario}: {error}")),
        None => Ok(row),
    }
}

/// A number of a row, by the path to it.
fn number(row: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(row, |row, key| row.get(key))?.as_f64()
}

/// Runs the scenarios for this server and the peers asked for, and prints what `wanted` names: figure, path, unit, and
/// the factor from the kit's unit.
fn measure(
    request: &Request,
    bench: &str,
    scenarios: &[&str],
    wanted: &[(&str, &str, &str, f64)],
) -> Result<(), String> {
    let n = request.n.map(|n| n.to_string());
    let extra: Vec<&str> = n.iter().flat_map(|n| ["--n", n]).collect();
    for scenario in scenarios {
        for peer in std::iter::once("posthaste").chain(request.peers.iter().map(String::as_str)) {
            let row = run(peer, scenario, &extra)?;
            for (figure, path, unit, factor) in wanted {
                let Some(value) = number(&row, path) else { continue };
                let figure = format!("{scenario} {figure}");
                let peer = (peer != "posthaste").then_some(peer);
                request.print(&Figure { bench, figure: &figure, value: value * factor, unit, peer });
            }
        }
    }
    Ok(())
}

/// See the table in `main.rs`.
pub(crate) fn reception(request: &Request) -> Result<(), String> {
    measure(
        request,
        "reception",
        &["rx-4k-c1", "rx-4k-c20", "rx-4k-c200", "rx-4k-c1000"],
        &[
            ("rate", "steady_rate", "messages/s", 1.0),
            ("p50 of the 250", "accept.p50_ms", "ms", 1.0),
            ("p99 of the 250", "accept.p99_ms", "ms", 1.0),
            ("CPU", "cpu_s_per_1000", "us/message", 1000.0),
            ("foreign CPU", "foreign_cpu", "s", 1.0),
        ],
    )
}

/// See the table in `main.rs`.
pub(crate) fn relay(request: &Request) -> Result<(), String> {
    measure(
        request,
        "relay",
        &["relay-4k-p100", "relay-4k-p1", "relay-256k-p100"],
        &[
            ("rate", "relay_rate", "messages/s", 1.0),
            ("arrived", "arrived", "messages", 1.0),
            ("duplicates", "dup", "messages", 1.0),
            ("end to end p99", "e2e.p99_ms", "ms", 1.0),
            ("CPU", "cpu_s_per_1000", "us/message", 1000.0),
            ("foreign CPU", "foreign_cpu", "s", 1.0),
        ],
    )
}

/// See the table in `main.rs`.
pub(crate) fn tarpit(request: &Request) -> Result<(), String> {
    measure(
        request,
        "tarpit",
        &["iso-base", "iso-tarpit"],
        &[("good rate", "fast_rate", "messages/s", 1.0), ("good arrived", "fast", "messages", 1.0)],
    )
}

/// See the table in `main.rs`.
pub(crate) fn idle(request: &Request) -> Result<(), String> {
    measure(
        request,
        "idle",
        &["idle-19000"],
        &[
            ("held", "held", "sessions", 1.0),
            ("memory", "pss_kib_per_session", "KiB/session", 1.0),
            ("new session p99", "probe_banner.p99_ms", "ms", 1.0),
            ("new message p99", "probe_message.p99_ms", "ms", 1.0),
        ],
    )
}
