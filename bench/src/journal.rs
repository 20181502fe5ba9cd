//! The journal alone: the spool's own benchmark, whose figures are passed on.

use crate::{Figure, Request};
use serde_json::Value;
use std::process::{Command, Stdio};

/// See the table in `main.rs`.
pub(crate) fn journal(request: &Request) -> Result<(), String> {
    let output = Command::new("cargo")
        .args(["bench", "--quiet", "--package", "spool", "--bench", "journal"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo bench ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    for row in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (Some(figure), Some(value), Some(unit)) =
            (row["figure"].as_str(), row["value"].as_f64(), row["unit"].as_str())
        else {
            continue;
        };
        request.print(&Figure { bench: "journal", figure, value, unit, peer: None });
    }
    Ok(())
}
