//! The import table: which crate of the house may use which. A new arrow is a design decision with a page in
//! `docs/decisions/`.

use crate::run::{output, root};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who may use whom, by layer. `posthaste` and what tests or measures it may use everything.
const TABLE: &[(&str, &[&str])] = &[
    ("fabric", &[]),
    ("fabric-net", &["fabric"]),
    ("fabric-tokio", &["fabric"]),
    ("fabric-rdma", &["fabric"]),
    ("fabric-modules", &["fabric"]),
    ("fabric-conformance", &["fabric", "fabric-net", "fabric-rdma"]),
    ("fabric-tool", &["fabric", "fabric-net", "fabric-rdma", "fabric-modules"]),
    ("fabric-c", &["fabric", "fabric-net"]),
    ("fabric-python", &["fabric", "fabric-net"]),
    ("engine", &["fabric"]),
    ("message", &["fabric"]),
    ("smtp", &["message"]),
    ("policy", &["message"]),
    ("config", &["message"]),
    ("shaping", &["message"]),
    ("bounce", &["message"]),
    ("resolver", &["engine", "message", "policy"]),
    ("console", &[]),
    ("suppression", &["message", "policy"]),
    ("reception", &["config", "engine", "fabric", "message", "policy", "smtp"]),
    ("spool", &["engine", "fabric", "message"]),
    ("routing", &["config", "message", "policy"]),
    ("scheduling", &["config", "fabric", "message"]),
    ("delivery", &["config", "engine", "fabric", "message", "policy", "smtp"]),
    ("record", &["bounce", "message"]),
];

/// Crates at the top, free to use all others.
const TOP: &[&str] = &["posthaste", "acceptance", "bench", "xtask"];

/// Crates that may hold `unsafe`: the ground, and what hands its memory to devices, modules and other languages.
const UNSAFE: &[&str] =
    &["fabric", "fabric-net", "fabric-rdma", "fabric-modules", "fabric-c", "fabric-python", "engine"];

/// Compares the table with what cargo says, and the lints of each crate with the rule on `unsafe`.
pub(crate) fn check() -> Result<(), String> {
    let text = output("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .or_else(|_| output("cargo", &["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = TABLE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("");
        if !TOP.contains(&name) {
            match table.get(name) {
                Some(allowed) => wrong.extend(sideways(package, &names, allowed)),
                None => wrong.push(format!("{name} is not in the import table of xtask/src/imports.rs")),
            }
        }
        wrong.extend(unguarded(package));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Arrows of a package that the table does not have; what only its tests use is free.
fn sideways(package: &Value, house: &[&str], allowed: &[&str]) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or("");
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| house.contains(dependency) && !allowed.contains(dependency))
        .map(|dependency| format!("{name} uses {dependency}, which the import table does not allow"))
        .collect()
}

/// A crate that neither takes the workspace's lints (which forbid `unsafe`) nor may do without.
fn unguarded(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("");
    let path = package["manifest_path"].as_str().unwrap_or("");
    let manifest = std::fs::read_to_string(path).unwrap_or_default();
    let takes_lints = manifest.contains("[lints]\nworkspace = true");
    let relative = path.strip_prefix(&*root().to_string_lossy()).unwrap_or(path);
    (!takes_lints && !UNSAFE.contains(&name)).then(|| format!("{relative} does not take the workspace's lints"))
}
