//! The rounds: every row once a round at every size, runs of one size beside one another, so that ratios are of runs seconds apart.
//!
//! Every other round goes backwards, so that nobody always runs after the same neighbour.

use crate::Request;
use crate::samples::{NEAR_NS, Samples};
use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The programs of rows; they lie beside this one.
const PROGRAMS: &[&str] = &["ours", "bare", "peer-iceoryx2", "peer-zeromq", "peer-nng", "peer-queues"];

/// The longest that a run may take, its start and end included. The programs end themselves a little earlier.
const RUN_MAX: Duration = Duration::from_secs(15);

/// How often the distance of the processors is looked at while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A row of a program.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) about: String,
    sizes: Vec<u64>,
    program: PathBuf,
}

/// All rows of all programs.
pub(crate) fn rows() -> Result<Vec<Row>, String> {
    let here = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut rows = Vec::new();
    for name in PROGRAMS {
        let program = here.with_file_name(name);
        let output = Command::new(&program).arg("rows").output().map_err(|error| format!("{name}: {error}"))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let row: Value = serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?;
            rows.push(Row {
                name: row["row"].as_str().unwrap_or_default().to_owned(),
                about: row["about"].as_str().unwrap_or_default().to_owned(),
                sizes: row["sizes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
                program: program.clone(),
            });
        }
    }
    Ok(rows)
}

/// Runs the rounds until they are done or the time is up.
pub(crate) fn run(request: &Request) -> Result<Samples, String> {
    let mut rows = rows()?;
    rows.retain(|row| request.only.is_empty() || request.only.iter().any(|part| row.name.contains(part.as_str())));
    let mut sizes: Vec<u64> = rows.iter().flat_map(|row| row.sizes.iter().copied()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.retain(|size| request.sizes.is_empty() || request.sizes.contains(size));
    let start = Instant::now();
    let mut samples = Samples::default();
    let mut patience = request.patience;
    for round in 1..=request.rounds {
        for &size in &sizes {
            wait_until_near(&rows, &mut patience);
            let mut runs: Vec<&Row> = rows.iter().filter(|row| row.sizes.contains(&size)).collect();
            if round % 2 == 0 {
                runs.reverse();
            }
            for row in runs {
                if start.elapsed() > request.deadline {
                    eprintln!("the deadline came in round {round} of {}", request.rounds);
                    return Ok(samples);
                }
                let mut line = measure(row, size, request.run);
                line["round"] = round.into();
                if request.json || line["error"].is_string() {
                    println!("{line}");
                }
                samples.add(&line);
            }
        }
        eprintln!("round {round} of {} after {} s", request.rounds, start.elapsed().as_secs());
    }
    Ok(samples)
}

/// Waits until the host has put the processors near each other, while there is patience.
fn wait_until_near(rows: &[Row], patience: &mut Duration) {
    let Some(row) = rows.first() else { return };
    let near = || {
        let output = Command::new(&row.program).arg("distance").output();
        let line = output.ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
        line.and_then(|line| line["core_trip_ns"].as_f64()).is_none_or(|trip| trip < NEAR_NS)
    };
    while !patience.is_zero() && !near() {
        std::thread::sleep(LOOK_AGAIN);
        *patience = patience.saturating_sub(LOOK_AGAIN);
    }
}

/// One run; what went wrong is in `error`.
fn measure(row: &Row, size: u64, time: Duration) -> Value {
    let result =
        output(row, size, time).and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
    result.unwrap_or_else(|reason| serde_json::json!({"row": row.name, "size": size, "error": reason}))
}

fn output(row: &Row, size: u64, time: Duration) -> Result<String, String> {
    let mut command = Command::new(&row.program);
    command.args(["run", &row.name, &size.to_string(), &time.as_millis().to_string()]).env("RUST_BACKTRACE", "0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if start.elapsed() > RUN_MAX => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                return Err(format!("still running after {} s", RUN_MAX.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (mut text, mut complaint) = (String::new(), String::new());
    let read = |from: Option<&mut dyn Read>, to| from.map_or(Ok(0), |from| from.read_to_string(to));
    read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read), &mut text).map_err(|error| error.to_string())?;
    read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read), &mut complaint).map_err(|error| error.to_string())?;
    if status.success() { Ok(text) } else { Err(format!("ended with {status}: {}", complaint.trim())) }
}
