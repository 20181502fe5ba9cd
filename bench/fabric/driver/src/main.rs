//! `cargo xtask bench fabric`: runs every row of the fabric and of its peers in interleaved rounds, and holds the ratios against the targets.
//!
//! It starts the programs beside it, one run at a time, each bounded in time. It never measures anything itself.

mod report;
mod rounds;
mod samples;
mod targets;

use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
bench fabric [--json] [--rounds N] [--only SUBSTRING,…] [--sizes BYTES,…] [--run-ms MILLISECONDS] [--deadline SECONDS]
             [--patience SECONDS]
bench fabric rows      lists the rows

  --rounds     how often every row is measured at every size (7)
  --only       rows whose names hold one of these
  --sizes      of these payload sizes only
  --run-ms     how long one run measures, after a tenth of it to warm up (120)
  --deadline   no run is started after this many seconds (440)
  --patience   so long in all may be waited for the host to put the processors near each other (90)
  --json       one line of JSON for every run, median, ratio and target";

/// What the command line asked for.
pub(crate) struct Request {
    json: bool,
    rounds: u32,
    only: Vec<String>,
    sizes: Vec<u64>,
    run: Duration,
    deadline: Duration,
    patience: Duration,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("rows") => {
            rounds::rows().map(|rows| rows.iter().for_each(|row| println!("{:34} {}", row.name, row.about)))
        }
        _ => request(&args).and_then(|request| bench(&request)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench fabric: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn bench(request: &Request) -> Result<(), String> {
    let samples = rounds::run(request)?;
    report::print(request, &samples);
    Ok(())
}

fn request(args: &[String]) -> Result<Request, String> {
    let mut request = Request {
        json: false,
        rounds: 7,
        only: Vec::new(),
        sizes: Vec::new(),
        run: Duration::from_millis(120),
        deadline: Duration::from_secs(440),
        patience: Duration::from_secs(90),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().map(String::as_str).ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => request.json = true,
            "--rounds" => request.rounds = number(arg, value()?)? as u32,
            "--only" => request.only = value()?.split(',').map(str::to_owned).collect(),
            "--sizes" => request.sizes = value()?.split(',').map(|size| number(arg, size)).collect::<Result<_, _>>()?,
            "--run-ms" => request.run = Duration::from_millis(number(arg, value()?)?.min(2_000)),
            "--deadline" => request.deadline = Duration::from_secs(number(arg, value()?)?),
            "--patience" => request.patience = Duration::from_secs(number(arg, value()?)?),
            _ => return Err(format!("unknown option {arg}\n{USAGE}")),
        }
    }
    Ok(request)
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{option}: `{text}` is not a number"))
}
