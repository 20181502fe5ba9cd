//! `posthaste spool …`: the journal's tools, on the volumes that the configuration names.

use crate::cli::{SpoolArgs, SpoolCommand};
use crate::failure::Failure;
use crate::{run, store};
use config::Config;
use serde_json::json;
use spool::tools::{self, ExportForm, View};
use spool::{RecoveredMessage, RecoveryReport};
use std::io::Write as _;
use std::path::Path;

/// Runs one of the tools.
pub(crate) fn spool(place: &SpoolArgs, command: &SpoolCommand) -> Result<(), Failure> {
    let config = run::load_or_builtin(place.config.as_deref())?;
    if config.spool.store != config::Store::Journal {
        return Err(Failure::new(
            "the spool tools read a journal; the two-file store is plain files to be read with `less`",
        ));
    }
    match command {
        SpoolCommand::List => list(&config, place),
        SpoolCommand::Cat { id } => cat(&config, id),
        SpoolCommand::Check => check(&config, place),
        SpoolCommand::Export { folder } => export(&config, folder),
        SpoolCommand::Import { folder } => import(&config, folder),
    }
}

fn open(config: &Config) -> Result<View, Failure> {
    View::open(&config.spool.volumes).map_err(|error| Failure::caused("cannot read the spool", &error))
}

fn list(config: &Config, place: &SpoolArgs) -> Result<(), Failure> {
    let mut view = open(config)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(found) = view.next_message() {
        let row = if place.json { json_row(&found) } else { text_row(&found) };
        writeln!(out, "{row}").map_err(|error| Failure::caused("cannot print", &error))?;
    }
    out.flush().map_err(|error| Failure::caused("cannot print", &error))
}

fn recipient(found: &RecoveredMessage, index: u16) -> &str {
    found.message.envelope.recipients.get(usize::from(index)).map_or("?", |recipient| recipient.address.as_str())
}

fn text_row(found: &RecoveredMessage) -> String {
    let message = &found.message;
    let sender = message.envelope.sender.as_ref().map_or("", |sender| sender.as_str());
    let waiting: Vec<String> = found
        .recipients
        .iter()
        .map(|left| match left.not_before.seconds() {
            0 => format!("<{}> attempts={}", recipient(found, left.recipient), left.attempts),
            until => format!("<{}> attempts={} until={until}", recipient(found, left.recipient), left.attempts),
        })
        .collect();
    format!("{} {} <{sender}> -> {}", message.id, message.size(), waiting.join(", "))
}

fn json_row(found: &RecoveredMessage) -> String {
    let message = &found.message;
    let waiting: Vec<_> = found
        .recipients
        .iter()
        .map(|left| {
            json!({
                "address": recipient(found, left.recipient), "attempts": left.attempts,
                "not_before": left.not_before.seconds(),
            })
        })
        .collect();
    json!({
        "id": message.id.to_string(), "full_id": message.id.full(), "received": message.reception.at.seconds(),
        "size": message.size(), "sender": message.envelope.sender.as_ref().map(|sender| sender.as_str()),
        "recipients": waiting,
    })
    .to_string()
}

fn cat(config: &Config, id: &str) -> Result<(), Failure> {
    let mut view = open(config)?;
    let found = view.find(id).ok_or_else(|| {
        Failure::new(format!("no message {id} in the spool; `posthaste spool list` names those that are there"))
    })?;
    let mut out = std::io::stdout().lock();
    view.copy(found.key, &mut out).map_err(|error| Failure::caused(format!("cannot read {id}"), &error))
}

fn check(config: &Config, place: &SpoolArgs) -> Result<(), Failure> {
    let reports =
        tools::check(&config.spool.volumes).map_err(|error| Failure::caused("cannot read the spool", &error))?;
    for (volume, report) in config.spool.volumes.iter().zip(&reports) {
        if place.json {
            println!("{}", json_report(volume, report));
        } else {
            print_report(volume, report);
        }
    }
    if reports.iter().any(|report| report.damaged > 0) { Err(Failure::silent()) } else { Ok(()) }
}

fn print_report(volume: &Path, report: &RecoveryReport) {
    println!(
        "{}: {} messages in {} segments; {} torn records, {} refused records, {} damaged places",
        volume.display(),
        report.messages,
        report.segments,
        report.torn,
        report.void,
        report.damaged
    );
    for damage in &report.damages {
        let id = damage.id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        println!("  segment {:06} offset {}: {} bytes damaged, message {id}", damage.file, damage.offset, damage.bytes);
    }
}

fn json_report(volume: &Path, report: &RecoveryReport) -> String {
    let damages: Vec<_> = report
        .damages
        .iter()
        .map(|damage| {
            json!({
                "segment": damage.file, "offset": damage.offset, "bytes": damage.bytes,
                "id": damage.id.map(|id| id.to_string()),
            })
        })
        .collect();
    json!({
        "volume": volume.display().to_string(), "messages": report.messages, "segments": report.segments,
        "torn": report.torn, "refused": report.void, "damaged": report.damaged, "damages": damages,
    })
    .to_string()
}

fn export(config: &Config, folder: &Path) -> Result<(), Failure> {
    let mut view = open(config)?;
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!("{} is not empty; an export wants a folder of its own", folder.display())));
    }
    let report = tools::export(&mut view, folder, ExportForm::TwoFiles)
        .map_err(|error| Failure::caused(format!("cannot write to {}", folder.display()), &error))?;
    println!("{} messages written to {}, {} missing or damaged", report.written, folder.display(), report.missing);
    Ok(())
}

fn import(config: &Config, folder: &Path) -> Result<(), Failure> {
    let report = tools::import(folder, &store::options(config))
        .map_err(|error| Failure::caused(format!("cannot import {}", folder.display()), &error))?;
    println!("{} messages imported, {} were there already", report.imported, report.skipped);
    for damaged in &report.damaged {
        eprintln!("damaged, left where it is: {}", damaged.display());
    }
    if report.damaged.is_empty() { Ok(()) } else { Err(Failure::silent()) }
}
