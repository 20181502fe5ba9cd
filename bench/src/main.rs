//! Benchmarks of the whole server, run by `cargo xtask bench NAME [--json] [--peers postfix,exim] [--n N]`.
//!
//! Reception, relay, tarpit and idle sessions are driven by the bench kit, which runs other mail servers in the same
//! way; the rest starts the server itself. Everything listens on loopback and stops by itself.

mod backlog;
mod calls;
mod classify;
mod fairness;
mod figure;
mod journal;
mod kit;
mod outbound;
mod queues;
mod restart;
mod server;
mod sink;
mod timers;

use figure::Figure;
use std::process::ExitCode;

/// What the command line asked for.
pub(crate) struct Request {
    json: bool,
    peers: Vec<String>,
    n: Option<u64>,
}

/// The server's allocator, so that what is measured in this process is what the server does.
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Bench = fn(&Request) -> Result<(), String>;

/// Every benchmark: name, what it measures, how.
const BENCHES: &[(&str, &str, Bench)] = &[
    ("journal", "durable 4 KiB stores/s at 1, 20, 200 writers beside the bare fdatasync of the disk", journal::journal),
    (
        "reception",
        "durable 4 KiB messages/s, p99 of the 250 and CPU a message at 1, 20, 200, 1,000 sessions",
        kit::reception,
    ),
    (
        "relay",
        "4 KiB and 256 KiB messages through the server, kept connections and one message a connection",
        kit::relay,
    ),
    ("tarpit", "rate of good destinations while a tenth of the mail meets a tarpit", kit::tarpit),
    ("idle", "memory of 19,000 idle sessions and the answer to a new one meanwhile", kit::idle),
    ("backlog", "memory of N queued messages (default 1,000,000), restart to first delivery", backlog::backlog),
    (
        "queues",
        "memory and cost of a queued recipient from 10,000 to N (default 10,000,000), 100 a container",
        queues::queues,
    ),
    ("timers", "insertion and expiry of N pending timers (default 10,000,000)", timers::timers),
    (
        "restart",
        "killed with N queued messages of 4 KiB (default 1,000,000): first delivery, all in their queues",
        restart::restart,
    ),
    (
        "fairness",
        "rate of 1,000 domains alone and beside N that stand in a tarpit (default 10,000)",
        fairness::fairness,
    ),
    ("outbound", "memory of 5,000 connections to a tarpit", outbound::outbound),
    ("calls", "system calls of a relayed message", calls::calls),
    ("classify", "bounce classes: replies/s of one core over real replies, and of the worst ones", classify::classify),
];

const USAGE: &str = "bench list | NAME [--json] [--peers postfix,exim,kumomta] [--n N]";

fn main() -> ExitCode {
    if let Err(error) = engine::raise_descriptor_limit() {
        eprintln!("bench: the limit of open descriptors stays as it is: {error}");
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if name == "list" {
        BENCHES.iter().for_each(|(name, about, _)| println!("{name:10} {about}"));
        return ExitCode::SUCCESS;
    }
    let result = match (BENCHES.iter().find(|(bench, ..)| bench == name), request(rest)) {
        (Some((_, _, bench)), Ok(request)) => bench(&request),
        (None, _) => Err(format!("no benchmark `{name}`: see `bench list`")),
        (_, Err(reason)) => Err(reason),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench {name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn request(args: &[String]) -> Result<Request, String> {
    let mut request = Request { json: false, peers: vec![], n: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => request.json = true,
            "--peers" => request.peers = value()?.split(',').map(str::to_owned).collect(),
            "--n" => request.n = Some(value()?.parse().map_err(|_| "--n needs a number".to_owned())?),
            _ => return Err(format!("unknown option {arg}: {USAGE}")),
        }
    }
    Ok(request)
}

impl Request {
    /// Prints a figure, for people or for programs.
    pub(crate) fn print(&self, figure: &Figure<'_>) {
        println!("{}", if self.json { figure.json() } else { figure.text() });
    }
}
