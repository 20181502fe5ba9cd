//! Commands to a running server: `console` and `queue`.

use crate::cli::{FilterArgs, OperationArgs, QueueCommand, ServerArgs};
use crate::failure::Failure;
use crate::run;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// And one of an operation on queues, which may read every message of a large spool.
const PATIENCE_QUEUE: Duration = Duration::from_secs(4 * 3600);

/// The socket to ask.
pub(crate) fn socket(args: &ServerArgs) -> Result<PathBuf, Failure> {
    match &args.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(run::load_or_builtin(args.config.as_deref())?.console.socket.clone()),
    }
}

/// Asks, and prints the answer.
pub(crate) fn ask(args: &ServerArgs, words: &[String]) -> Result<(), Failure> {
    let patience = if words.first().is_some_and(|word| word == "queue") { PATIENCE_QUEUE } else { PATIENCE };
    let answer = console::ask(&socket(args)?, words, patience).map_err(|error| Failure::caused("no answer", &error))?;
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
    let key = |key: &str, value: &str| format!("{key}={value}");
    let (mut words, filter, more): (Vec<String>, Option<&FilterArgs>, Vec<String>) = match command {
        QueueCommand::Summary => (vec!["summary".into()], None, vec![]),
        QueueCommand::Suspensions => (vec!["suspensions".into()], None, vec![]),
        QueueCommand::Why { domain, binding } => {
            (["why", domain].into_iter().chain(binding.as_deref()).map(str::to_owned).collect(), None, vec![])
        }
        QueueCommand::Show { domain, limit } => {
            (vec!["show".into(), domain.clone().unwrap_or_else(|| "all".into()), limit.to_string()], None, vec![])
        }
        QueueCommand::Count(filter) => (vec!["count".into()], Some(filter), vec![]),
        QueueCommand::List { filter, limit } => {
            (vec!["list".into()], Some(filter), vec![key("limit", &limit.to_string())])
        }
        QueueCommand::Flush(operation) => operated("flush", operation, vec![]),
        QueueCommand::Resume(operation) => operated("resume", operation, vec![]),
        QueueCommand::Suspend { operation, span } => {
            let seconds = |span: &str| span.bytes().all(|byte| byte.is_ascii_digit());
            let span = span.as_ref().map(|span| if seconds(span) { format!("for={span}s") } else { key("for", span) });
            operated("suspend", operation, span.into_iter().collect())
        }
        QueueCommand::Fail { operation, quiet, reply } => {
            let reply = reply.as_ref().map(|reply| key("reply", reply));
            operated("fail", operation, quiet.then(|| "quiet".to_owned()).into_iter().chain(reply).collect())
        }
        QueueCommand::Reroute { operation, to } => {
            operated("reroute", operation, to.iter().map(|to| key("to", to)).collect())
        }
        QueueCommand::Rebind { operation, to } => operated("rebind", operation, vec![key("to", to)]),
        QueueCommand::Delay { operation, span } => operated("delay", operation, vec![key("for", span)]),
        QueueCommand::Export { operation, to } => {
            let to = std::path::absolute(to).map_err(|error| Failure::caused(to.display().to_string(), &error))?;
            operated("export", operation, vec![key("to", &to.display().to_string())])
        }
    };
    words.extend(filter.into_iter().flat_map(filter_words));
    words.extend(more);
    words.insert(0, "queue".into());
    ask(args, &words)
}

/// The words of an operation.
type Operated<'a> = (Vec<String>, Option<&'a FilterArgs>, Vec<String>);

fn operated<'a>(command: &str, operation: &'a OperationArgs, mut more: Vec<String>) -> Operated<'a> {
    more.extend(operation.dry_run.then(|| "dry-run".to_owned()));
    (vec![command.into()], Some(&operation.filter), more)
}

fn filter_words(filter: &FilterArgs) -> Vec<String> {
    let FilterArgs { domain, binding, group, tenant, sender, recipient, header, older, younger } = filter;
    let keyed = [
        ("group", group),
        ("tenant", tenant),
        ("sender", sender),
        ("recipient", recipient),
        ("older", older),
        ("younger", younger),
    ];
    let mut words: Vec<String> = domain.iter().chain(binding).cloned().collect();
    words.extend(keyed.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))));
    words.extend(header.iter().map(|header| format!("header={header}")));
    words
}
