//! `posthaste send`: one message into a server.

use crate::cli::SendArgs;
use crate::dialogue::Dialogue;
use crate::failure::Failure;
use std::io::Read as _;

/// Sends the message; prints the server's last word.
pub(crate) fn send(args: &SendArgs) -> Result<(), Failure> {
    let content = content(args)?;
    let mut dialogue = Dialogue::open(&args.to_server)
        .map_err(|error| Failure::caused(format!("cannot send to {}", args.to_server), &error))?;
    let reply = dialogue
        .message(&args.from, &args.to, &content)
        .map_err(|error| Failure::caused(format!("{} did not take the message", args.to_server), &error))?;
    println!("{reply}");
    // The message is stored; how the session ends does not matter any more.
    let _ = dialogue.close();
    Ok(())
}

fn content(args: &SendArgs) -> Result<Vec<u8>, Failure> {
    if let Some(file) = &args.file {
        return std::fs::read(file).map_err(|error| Failure::caused(format!("cannot read {}", file.display()), &error));
    }
    let body = match &args.text {
        Some(text) => text.clone(),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::caused("cannot read the message from standard input", &error))?;
            text
        }
    };
    let from = if args.from.is_empty() { "postmaster" } else { &args.from };
    let subject = args.subject.as_deref().unwrap_or("a message");
    Ok(format!("From: <{from}>\r\nTo: {}\r\nSubject: {subject}\r\n\r\n{body}\r\n", args.to.join(", ")).into_bytes())
}
