//! `fabric perf`: rates and round trips of a channel between two processes, or two threads where the address does not leave the process.
//!
//! ```text
//!  fabric perf thr ──► listens, receives, measures       fabric perf lat ──► connects, asks, measures
//!        └ starts ──► fabric perf thr --connect: sends          └ starts ──► fabric perf lat --listen: answers
//! ```
//!
//! The whole way is measured: a message is made, queued if need be, encoded, published, checked, decoded. The sender writes every byte of every payload,
//! the receiver reads every byte and compares it with what it must be, inside the measured time.

mod payload;
mod peer;
mod rate;
mod report;
mod sides;
mod trip;

use fabric::tli::Providers;

use crate::cli::{PerfArgs, PerfCommand};
use crate::failure::Failure;
use crate::opening::Watch;
use peer::Peer;
use report::{Report, Side};
use sides::Ends;

/// Which of the two measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Rate,
    Trip,
}

/// Which end of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Listen,
    Connect,
}

pub(crate) fn perf(providers: &Providers, command: &PerfCommand) -> Result<(), Failure> {
    let (mode, args) = match command {
        PerfCommand::Thr(args) => (Mode::Rate, args),
        PerfCommand::Lat(args) => (Mode::Trip, args),
    };
    let role = match (args.listen, args.connect) {
        (true, _) => Some(Role::Listen),
        (_, true) => Some(Role::Connect),
        _ => None,
    };
    if let Some(role) = role {
        let side = run(providers, args, mode, role)?;
        let report = Report { args, mode, measured: side.figures.is_some().then_some(&side), other: None };
        return print(&report, &side, args);
    }
    // The measuring side stays here.
    let (here, there) = match mode {
        Mode::Rate => (Role::Listen, Role::Connect),
        Mode::Trip => (Role::Connect, Role::Listen),
    };
    let peer = Peer::start(providers, args, mode, there)?;
    let side = run(providers, args, mode, here)?;
    let other = peer.finish()?;
    print(&Report { args, mode, measured: Some(&side), other: Some(&other) }, &side, args)
}

fn run(providers: &Providers, args: &PerfArgs, mode: Mode, role: Role) -> Result<Side, Failure> {
    let watch = Watch::new();
    let ends = Ends::open(providers, &watch, args, role)?;
    match (mode, role) {
        (Mode::Rate, Role::Listen) => rate::receive(ends, args),
        (Mode::Rate, Role::Connect) => rate::send(ends, args),
        (Mode::Trip, Role::Listen) => trip::answer(ends, args),
        (Mode::Trip, Role::Connect) => trip::ask(ends, args),
    }
}

fn print(report: &Report<'_>, side: &Side, args: &PerfArgs) -> Result<(), Failure> {
    if args.started {
        println!("{}", side.to_json());
    } else if args.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
    Ok(())
}
