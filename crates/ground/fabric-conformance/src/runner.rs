//! Runs one scenario in a process of its own, for as long as it may take.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::failure::Outcome;
use crate::scenarios::Scenario;
use crate::scheme::Scheme;

/// How scenarios are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The suite's program.
    pub program: PathBuf,
    /// The transport.
    pub scheme: Scheme,
    /// How often to repeat what is tried at random, if not as usual.
    pub rounds: Option<u32>,
    /// Where random numbers begin.
    pub seed: u64,
    /// How long a scenario may take.
    pub limit: Duration,
}

/// What became of a scenario.
#[derive(Debug)]
pub struct Report {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// What it printed.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs `scenario`.
///
/// # Errors
/// When no process can be started.
pub fn run(options: &Options, scenario: &Scenario) -> Outcome<Report> {
    let begun = Instant::now();
    let mut command = Command::new(&options.program);
    command.args(["scene", &options.scheme.to_string(), scenario.name, &format!("seed={}", options.seed)]);
    command.args(options.rounds.map(|rounds| format!("rounds={rounds}")));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let (tell, told) = mpsc::channel();
    let also = tell.clone();
    std::thread::spawn(move || read_all(stdout, &tell));
    std::thread::spawn(move || read_all(stderr, &also));
    let (failure, by_itself) = await_end(&mut child, begun + options.limit, options.limit)?;
    // Peers have the same standard error; they end with their scenario, at once.
    let mut output = String::new();
    while let Ok(text) = told.recv_timeout(if by_itself { Duration::from_secs(5) } else { Duration::from_millis(200) })
    {
        output.push_str(&text);
    }
    Ok(Report { failure, output, took: begun.elapsed() })
}

fn read_all(mut from: impl Read, tell: &mpsc::Sender<String>) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer) {
        if len == 0 || tell.send(String::from_utf8_lossy(&buffer[..len]).into_owned()).is_err() {
            return;
        }
    }
}

/// Why it failed, if it did, and whether it ended by itself.
fn await_end(child: &mut Child, deadline: Instant, limit: Duration) -> Outcome<(Option<String>, bool)> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(((!status.success()).then(|| format!("it ended with {status}")), true));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok((Some(format!("it did not end within {limit:?}")), false));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
