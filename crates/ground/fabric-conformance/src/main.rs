//! The conformance suite as a program; see the library's documentation.
//!
//! It runs a scenario after the other, each in a process of its own, prints a line for each, and exits with 1 when one failed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fabric_conformance::scenarios::{all, role};
use fabric_conformance::{Failure, Options, Outcome, Scene, Scheme, Stage, find, run};
use rustix::process::{Signal, set_parent_process_death_signal};

const USAGE: &str =
    "usage: fabric-conformance --scheme SCHEME [--only TEXT] [--rounds NUMBER] [--seed NUMBER] [--limit SECONDS]
       fabric-conformance --list
SCHEME is inproc, ipc, tcp, tcp?via=epoll, tcp?via=uring, vsock, rdma.
--only runs the scenarios whose names contain TEXT; --rounds says how often to repeat what is tried at random.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["peer", name, uri, ..] => peer(name, uri, &arguments[3..]),
        ["scene", scheme, name, ..] => scene(scheme, name, &arguments[3..]),
        ["--list"] => {
            all().iter().for_each(|scenario| println!("{} ({:?})", scenario.name, scenario.need));
            Ok(())
        }
        _ => suite(&words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// A panic of any thread ends the process: nothing may go on as if it had not been.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
}

fn peer(name: &str, uri: &str, arguments: &[String]) -> Outcome {
    end_on_panic();
    // Also when it is stopped, it goes with its scenario.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let stage = Stage::of_process(uri.to_owned(), arguments)?;
    (role(name)?.run)(&stage).map_err(|failure| failure.at(format_args!("peer {name}")))
}

fn scene(scheme: &str, name: &str, arguments: &[String]) -> Outcome {
    end_on_panic();
    let number = |name: &str| {
        let value = arguments.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.parse::<u64>().map_err(Failure::from)).transpose()
    };
    let rounds = number("rounds")?.map(|rounds| u32::try_from(rounds).unwrap_or(u32::MAX));
    let seed = number("seed")?.unwrap_or(1);
    let scene = Scene::new(scheme.parse()?, program()?, rounds, seed)?;
    (find(name)?.run)(&scene)
}

fn program() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?)
}

fn suite(words: &[&str]) -> Outcome {
    let mut scheme: Option<Scheme> = None;
    let (mut only, mut rounds, mut seed, mut limit) = ("", None, 1, None);
    for pair in words.chunks(2) {
        match *pair {
            ["--scheme", value] => scheme = Some(value.parse()?),
            ["--only", value] => only = value,
            ["--rounds", value] => rounds = Some(value.parse()?),
            ["--seed", value] => seed = value.parse()?,
            ["--limit", value] => limit = Some(value.parse()?),
            _ => return Err(Failure::new(USAGE)),
        }
    }
    let scheme = scheme.ok_or_else(|| Failure::new(USAGE))?;
    let limit = Duration::from_secs(limit.unwrap_or_else(|| 120 + u64::from(rounds.unwrap_or(0))));
    let options = Options { program: program()?, scheme, rounds, seed, limit };
    perform(&options, only)
}

/// Runs all scenarios whose names contain `only`.
fn perform(options: &Options, only: &str) -> Outcome {
    let (mut passed, mut failed) = (0, Vec::new());
    for scenario in all().iter().filter(|scenario| scenario.name.contains(only)) {
        if !options.scheme.has(scenario.need)? {
            println!("{} {}: not for this transport, it needs {:?}", options.scheme, scenario.name, scenario.need);
            continue;
        }
        let report = run(options, scenario)?;
        match &report.failure {
            None => {
                println!("{} {}: passed in {:.2?}", options.scheme, scenario.name, report.took);
                passed += 1;
            }
            Some(why) => {
                println!("{} {}: FAILED after {:.2?}: {why}", options.scheme, scenario.name, report.took);
                failed.push(scenario.name);
            }
        }
        print!("{}", report.output);
    }
    println!("{}: {passed} passed, {} failed {}", options.scheme, failed.len(), failed.join(" "));
    if failed.is_empty() && passed > 0 { Ok(()) } else { Err(Failure::new("the transport does not conform")) }
}
