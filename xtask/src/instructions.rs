//! `cargo xtask instructions`: counts the instructions of a message under callgrind and holds them to `bench/fabric/instructions/allowed.txt`.
//!
//! Counts do not depend on the machine's load, so they are a gate that a busy machine can keep. They change a little with the compiler: a tenth is
//! allowed.

use crate::packages;
use crate::run::{output_with, root, run_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Messages that each counted function passes.
const MESSAGES: f64 = 1000.0;
/// A count may be this much over the figure.
const SLACK: f64 = 1.1;
/// The version of `gungraun` in `bench/fabric/Cargo.toml`: its runner must be the same.
const RUNNER: &str = "0.20.0";

/// Counts and compares; prints every count.
pub(crate) fn instructions() -> Result<(), String> {
    packages::valgrind()?;
    let runner = runner()?;
    let target = root().join("target/instructions");
    let args = ["bench", "--quiet", "--manifest-path", "bench/fabric/Cargo.toml", "--package", "instructions"];
    let args = [&args[..], &["--bench", "messages", "--", "--output-format=json"]].concat();
    let env = [("GUNGRAUN_RUNNER", &*runner.to_string_lossy()), ("CARGO_TARGET_DIR", &*target.to_string_lossy())];
    let counts = counts(&output_with("cargo", &args, &env)?)?;
    let path = root().join("bench/fabric/instructions/allowed.txt");
    let allowed = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let wrong = compare(&counts, &allowed)?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The program that runs callgrind for `gungraun`, built once below `target/tools`.
fn runner() -> Result<PathBuf, String> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/gungraun-runner");
    if !program.exists() {
        eprintln!("building gungraun-runner below target/tools");
        let tools = tools.to_string_lossy();
        run_with(
            "cargo",
            &["install", "--quiet", "--locked", "gungraun-runner", "--version", RUNNER, "--root", &tools],
            &[],
        )?;
    }
    Ok(program)
}

/// Instructions of a message by function and case, from one line of JSON each.
fn counts(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let summary: Value = serde_json::from_str(line).map_err(|error| format!("a summary of gungraun: {error}"))?;
        let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new").and_then(Value::as_f64);
        let (Some(function), Some(case), Some(count)) =
            (summary["function_name"].as_str(), summary["id"].as_str(), count)
        else {
            return Err(format!("a summary of gungraun without a count: {line}"));
        };
        counts.insert(format!("{function}.{case}"), count / MESSAGES);
    }
    if counts.is_empty() { Err("gungraun counted nothing".to_owned()) } else { Ok(counts) }
}

/// Prints counts beside figures; says what is over, and what stands on one side only.
fn compare(counts: &BTreeMap<String, f64>, allowed: &str) -> Result<Vec<String>, String> {
    let mut figures = BTreeMap::new();
    for line in allowed.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (name, figure) =
            line.split_once(char::is_whitespace).ok_or(format!("allowed.txt: `{line}` is no name and figure"))?;
        let figure: f64 = figure.trim().parse().map_err(|_| format!("allowed.txt: `{line}` has no figure"))?;
        figures.insert(name.to_owned(), figure);
    }
    let mut wrong = Vec::new();
    for (name, &count) in counts {
        match figures.remove(name) {
            Some(figure) => {
                println!("{name:34} {count:7.0} instructions a message, {figure:.0} in allowed.txt");
                if count > figure * SLACK {
                    wrong.push(format!(
                        "{name}: {count:.0} instructions a message are over {figure:.0} by more than a tenth"
                    ));
                }
                if count * SLACK < figure {
                    println!("{name:34} is better by more than a tenth: lower the figure");
                }
            }
            None => wrong.push(format!("{name}: {count:.0} instructions a message; no figure in allowed.txt")),
        }
    }
    wrong.extend(figures.keys().map(|name| format!("allowed.txt has `{name}`, which nothing counts")));
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::{compare, counts};

    const SUMMARY: &str = r#"{"function_name":"message","id":"ipc","profiles":[{"data":{"total":{"metrics":{"Ir":{"values":{"new":250000}}}}}}]}"#;

    #[test]
    fn a_tenth_is_allowed_and_no_more() {
        let counts = counts(SUMMARY).expect("a summary");
        assert_eq!(counts["message.ipc"], 250.0);
        assert_eq!(compare(&counts, "# figures\nmessage.ipc 228\n"), Ok(vec![]));
        assert_eq!(compare(&counts, "message.ipc 227").map(|wrong| wrong.len()), Ok(1));
    }

    #[test]
    fn figures_and_counts_must_match_by_name() {
        let counts = counts(SUMMARY).expect("a summary");
        assert_eq!(compare(&counts, "").map(|wrong| wrong.len()), Ok(1));
        assert_eq!(compare(&counts, "message.ipc 250\nother 1").map(|wrong| wrong.len()), Ok(1));
        assert!(compare(&counts, "message.ipc").is_err());
        assert!(super::counts("warning: nothing").is_err());
    }
}
