//! `fabric`: the command line of the fabric. It measures channels, pipes bytes through them, looks into them, and records and replays them.
//!
//! It names every crate of transports, so that all of them are linked in, and checks at each start that they are.

mod capture;
mod cat;
mod cli;
mod failure;
mod forward;
mod inspect;
mod opening;
mod perf;
mod ping;
mod replay;
mod schemes;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command};
use fabric_net as _;
use fabric_rdma as _;

fn main() -> ExitCode {
    let Cli { loading, command } = Cli::parse();
    let result = schemes::check().and_then(|()| opening::load(&loading)).and_then(|providers| match command {
        Command::Perf { command } => perf::perf(&providers, &command),
        Command::Ping(args) => ping::ping(&providers, &args),
        Command::Cat(args) => cat::cat(&providers, &args),
        Command::Inspect(args) => inspect::inspect_links(&args),
        Command::Capture(args) => capture::capture(&providers, &args),
        Command::Replay(args) => replay::replay(&providers, &args),
        Command::Schemes(args) => schemes::list(&providers, &args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fabric: {failure}");
            ExitCode::FAILURE
        }
    }
}
