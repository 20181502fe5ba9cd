//! A newcomer's first command.

use acceptance::binary;
use std::fs::File;
use std::net::TcpListener;
use std::process::Command;

/// The ports of the demo are part of what it tells its user.
const PORTS: [u16; 2] = [2525, 2526];
const MESSAGES: usize = 500;

/// The one demo at a time on this machine; free again when dropped, or when the process ends.
fn alone() -> File {
    let lock =
        File::create(std::env::temp_dir().join("posthaste-demo.lock")).expect("the temporary folder is writable");
    lock.lock().expect("a lock can be waited for");
    for port in PORTS {
        let free = TcpListener::bind(("127.0.0.1", port));
        assert!(free.is_ok(), "127.0.0.1:{port}, which the demo needs, is taken by another program: {free:?}");
    }
    lock
}

/// The numbers in the line that begins with a label.
fn figures(text: &str, label: &str) -> Vec<f64> {
    let line = text.lines().find(|line| line.trim_start().starts_with(label)).unwrap_or_default();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_demo_pushes_its_messages_through_and_shows_figures() {
    let _lock = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["demo", "--messages", &MESSAGES.to_string(), "--once"]).current_dir(folder.path());
    let output = command.output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&format!("{MESSAGES}/{MESSAGES}")), "no progress in:\n{text}");
    assert!(figures(&text, "rate").first().is_some_and(|&rate| rate > 0.0), "{text}");
    let latencies = figures(&text, "latency");
    assert!(text.contains(" ms p50, ") && text.contains(" ms p99"), "{text}");
    assert!(latencies.len() == 2 && 0.0 < latencies[0] && latencies[0] <= latencies[1], "{text}");
    assert!(figures(&text, "CPU").first().is_some_and(|&cpu| cpu > 0.0), "{text}");
    assert!(text.contains("posthaste send"), "how to send a message of one's own is missing in:\n{text}");
    let maildir = folder.path().join("var/demo/maildir");
    let count = |part: &str| std::fs::read_dir(maildir.join(part)).map_or(0, Iterator::count);
    assert_eq!((count("new"), count("tmp")), (MESSAGES, 0));
}
