//! System calls of a relayed message, counted by strace while the kit's generator and sink run.

use crate::server::{Server, folder};
use crate::{Figure, Request};
use std::process::{Command, Stdio};

/// See the table in `main.rs`.
pub(crate) fn calls(request: &Request) -> Result<(), String> {
    let n = request.n.unwrap_or(20_000);
    let folder = folder()?;
    let log = folder.path().join("calls").display().to_string();
    let tool = std::env::var("BENCH_WORK").unwrap_or_else(|_| "target/bench".into()) + "/target/release/mailload";
    let config = "[listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:2525\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
                  [domain.\"*\"]\nroute = \"smtp://127.0.0.1:2600\"\nmax_connections = 50\n";
    let mut server = Server::start(folder.path(), config, &["strace", "-f", "-qq", "-c", "-o", &log])?;
    let count = n.to_string();
    let mut sink = Command::new(&tool)
        .args(["sink", "--listen", "127.0.0.1:2600", "--expect", &count, "--timeout", "120"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{tool}: {error}; run `cargo xtask bench reception` once"))?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let status = Command::new(&tool)
        .args(["gen", "--to", "127.0.0.1:2525", "--sessions", "20", "--messages", &count, "--per-conn", "100000"])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{tool}: {error}"))?;
    let arrived = sink.wait().map_err(|error| error.to_string())?;
    if !status.success() || !arrived.success() {
        return Err("generator or sink failed".into());
    }
    // The tracer ends with the server and then writes its table.
    let children = Command::new("pkill").args(["-TERM", "-P", &server.pid().to_string()]).status();
    children.map_err(|error| format!("pkill: {error}"))?;
    server.stop();
    let table = std::fs::read_to_string(&log).map_err(|error| format!("{log}: {error}"))?;
    let mut total = 0.0;
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(calls), Some(name)) = (words.get(3).and_then(|n| n.parse::<f64>().ok()), words.last()) else {
            continue;
        };
        if *name == "total" {
            continue;
        }
        let each = calls / n as f64;
        total += each;
        if each >= 0.01 {
            request.print(&Figure { bench: "calls", figure: name, value: each, unit: "calls/message", peer: None });
        }
    }
    request.print(&Figure { bench: "calls", figure: "all", value: total, unit: "calls/message", peer: None });
    Ok(())
}
