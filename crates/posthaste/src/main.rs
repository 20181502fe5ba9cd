//! The mail transfer agent: command line and composition. No logic of mail lives here; rooms have it.

mod allocator;
mod automatic;
mod bounces;
mod bouncing;
mod cli;
mod demo;
mod dialogue;
mod events;
mod failure;
mod filter;
mod following;
mod generation;
mod handing;
mod inspect;
mod intake;
mod ledger;
mod main_loop;
mod operate;
mod operation;
mod queue_desk;
mod queues;
mod redirections;
mod remote;
mod run;
mod send;
mod server;
mod shaping_console;
mod shaping_desk;
mod shaping_state;
mod shaping_tools;
mod shard;
mod show;
mod spool_tools;
mod store;
mod suppressing;
mod suppression_desk;
mod suppression_tools;
mod why;

use clap::Parser as _;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { config } => run::run(config),
        Command::Demo { messages, once } => {
            demo::demo(messages, if once { demo::GoOn::No } else { demo::GoOn::UntilInterrupted })
        }
        Command::CheckConfig { file } => show::check(&file),
        Command::ShowConfig { file, scope } => show::show(&file, scope.as_deref()),
        Command::Console { server, words } => remote::console(&server, &words),
        Command::Queue { server, command } => remote::queue(&server, &command),
        Command::Spool { place, command } => spool_tools::spool(&place, &command),
        Command::Shaping { command } => shaping_tools::run(&command),
        Command::Suppression { server, command } => suppression_tools::suppression(&server, &command),
        Command::Send(args) => send::send(&args),
        Command::Bounce { command } => bounces::bounce(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("posthaste: {text}");
            }
            ExitCode::from(failure.code())
        }
    }
}
