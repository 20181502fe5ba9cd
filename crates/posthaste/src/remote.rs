//! Commands to a running server: `console` and `queue`.

use crate::cli::{QueueCommand, ServerArgs};
use crate::failure::Failure;
use crate::run;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The socket to ask.
pub(crate) fn socket(args: &ServerArgs) -> Result<PathBuf, Failure> {
    match &args.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(run::load_or_builtin(args.config.as_deref())?.console.socket.clone()),
    }
}

fn ask(args: &ServerArgs, words: &[String]) -> Result<(), Failure> {
    let answer = console::ask(&socket(args)?, words, PATIENCE).map_err(|error| Failure::caused("no answer", &error))?;
    if !answer.ok {
        return Err(Failure::new(answer.text));
    }
    print(args, &answer);
    Ok(())
}

/// Prints an answer as asked.
pub(crate) fn print(args: &ServerArgs, answer: &console::Answer) {
    if args.json {
        println!("{}", answer.value);
    } else if !answer.text.is_empty() {
        println!("{}", answer.text);
    }
}

/// One command, or all that standard input has.
pub(crate) fn console(args: &ServerArgs, words: &[String]) -> Result<(), Failure> {
    if !words.is_empty() {
        return ask(args, words);
    }
    let prompt = || {
        if std::io::stdin().is_terminal() {
            print!("posthaste> ");
            // A terminal that is gone ends the input as well.
            let _ = std::io::stdout().flush();
        }
    };
    prompt();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::caused("cannot read a command", &error))?;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words.first().map(String::as_str) {
            Some("quit" | "exit") => break,
            Some(_) => {
                if let Err(failure) = ask(args, &words) {
                    eprintln!("{failure}");
                }
            }
            None => {}
        }
        prompt();
    }
    Ok(())
}

/// The commands of `queue`, which are the console's.
pub(crate) fn queue(args: &ServerArgs, command: &QueueCommand) -> Result<(), Failure> {
    let words: Vec<String> = match command {
        QueueCommand::Summary => vec!["summary".into()],
        QueueCommand::Why { domain, binding } => named("why", domain, binding.as_ref()),
        QueueCommand::Suspend { domain, binding, span } => {
            let mut words = named("suspend", domain, binding.as_ref());
            words.extend(span.iter().flat_map(|span| ["for".to_owned(), span.to_string()]));
            words
        }
        QueueCommand::Resume { domain, binding } => named("resume", domain, binding.as_ref()),
        QueueCommand::Suspensions => vec!["suspensions".into()],
        QueueCommand::Show { domain, limit } => {
            let domain = domain.clone().unwrap_or_else(|| "all".into());
            vec!["show".into(), domain, limit.to_string()]
        }
    };
    let words: Vec<String> = std::iter::once("queue".to_owned()).chain(words).collect();
    ask(args, &words)
}

fn named(command: &str, domain: &str, binding: Option<&String>) -> Vec<String> {
    [command.to_owned(), domain.to_owned()].into_iter().chain(binding.cloned()).collect()
}
