//! `posthaste suppression …`: on the running server, or on the list's files when none runs.

use crate::cli::{ImportArgs, ListedScope, ServerArgs, SuppressionCommand};
use crate::failure::Failure;
use crate::{remote, run, suppressing, suppression_desk};
use console::{Answer, AskError, Client};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use suppression::{
    Defaults, Entry, Format, Label, Lines, Reason, Scope, Store, Writer, parse_kind, parse_reason, write_csv_header,
    write_csv_row,
};

/// Octets of rows that go to the list at once: with every octet escaped they still fit into a request.
const ROWS_OCTETS: usize = 30 << 10;
/// Entries of a page of an export.
const EXPORT_PAGE: usize = 1_000;

/// Runs one of the commands.
pub(crate) fn suppression(server: &ServerArgs, command: &SuppressionCommand) -> Result<(), Failure> {
    let words = match command {
        SuppressionCommand::Import(args) => return import(server, args),
        SuppressionCommand::Export { file, format } => return export(server, file, format.as_deref()),
        SuppressionCommand::Add { address, scope, reason, source, expires } => {
            let mut words = vec!["add".to_owned(), address.clone()];
            words.extend(scope_words(scope));
            words.extend(word("reason", reason.as_deref()));
            words.extend(word("source", source.as_deref()));
            words.extend(word("expires", expires.as_deref()));
            words
        }
        SuppressionCommand::Remove { address, scope } => {
            ["remove".to_owned(), address.clone()].into_iter().chain(scope_words(scope)).collect()
        }
        SuppressionCommand::Check { address, scope } => {
            ["check".to_owned(), address.clone()].into_iter().chain(scope_words(scope)).collect()
        }
        SuppressionCommand::List { limit, after } => {
            ["list".to_owned(), limit.to_string()].into_iter().chain(after.clone()).collect()
        }
        SuppressionCommand::Count => vec!["count".to_owned()],
        SuppressionCommand::Compact => vec!["compact".to_owned()],
    };
    remote::print(server, &Desk::open(server)?.ask(words)?);
    Ok(())
}

fn word(name: &str, value: Option<&str>) -> Option<String> {
    value.map(|value| format!("{name}={value}"))
}

fn scope_words(scope: &ListedScope) -> impl Iterator<Item = String> {
    word("tenant", scope.tenant.as_deref()).into_iter().chain(word("kind", scope.kind.as_deref()))
}

/// Who carries out commands.
enum Desk {
    Server(Client),
    /// The list's own files, locked.
    Files {
        store: Store,
        runtime: Box<tokio::runtime::Runtime>,
        _writer: Writer,
    },
}

impl Desk {
    /// The running server; if none answers on the configuration's socket, the configuration's files.
    fn open(server: &ServerArgs) -> Result<Self, Failure> {
        match Client::connect(&remote::socket(server)?, remote::PATIENCE) {
            Ok(client) => return Ok(Self::Server(client)),
            Err(AskError::NotRunning { .. }) if server.socket.is_none() => {}
            Err(error) => return Err(Failure::caused("no answer", &error)),
        }
        let config = run::load_or_builtin(server.config.as_deref())?;
        let (keeper, report) = suppressing::keeper(&config)?;
        if report.torn_octets > 0 {
            eprintln!(
                "suppression list: {} octets of an unfinished change are removed from its log",
                report.torn_octets
            );
        }
        let failed = |error| Failure::caused("cannot start the suppression list's thread", &error);
        let (store, writer) = Store::start(keeper, |error| eprintln!("{error}")).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
        Ok(Self::Files { store, runtime: Box::new(runtime), _writer: writer })
    }

    /// Carries out the words behind `suppression`.
    fn ask(&mut self, words: Vec<String>) -> Result<Answer, Failure> {
        let answer = match self {
            Self::Server(client) => {
                let words: Vec<String> = std::iter::once("suppression".to_owned()).chain(words).collect();
                client.ask(&words).map_err(|error| Failure::caused("no answer", &error))?
            }
            Self::Files { store, runtime, .. } => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                runtime.block_on(suppression_desk::answer(store, suppressing::now(), &words))
            }
        };
        if answer.ok { Ok(answer) } else { Err(Failure::new(answer.text)) }
    }
}

/// The format of a file: as asked, else by its name.
fn format(asked: Option<&str>, file: &Path) -> Result<Format, Failure> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("csv");
    match asked.unwrap_or(extension) {
        "json" | "jsonl" | "ndjson" => Ok(Format::JsonLines),
        other if asked.is_none() || other == "csv" => Ok(Format::Csv),
        other => Err(Failure::new(format!("`{other}` is no format; write csv or json"))),
    }
}

fn defaults(args: &ImportArgs) -> Result<Defaults, Failure> {
    let label = |text: &str| Label::new(text).map_err(|error| Failure::caused(text.to_owned(), &error));
    let bad = |error: suppression::BadText| Failure::new(error.to_string());
    Ok(Defaults {
        reason: args.reason.as_deref().map_or(Ok(Reason::Manual), parse_reason).map_err(bad)?,
        source: label(args.source.as_deref().unwrap_or("import"))?,
        scope: Scope {
            tenant: args.scope.tenant.as_deref().map(label).transpose()?,
            kind: args.scope.kind.as_deref().map_or(Ok(Default::default()), parse_kind).map_err(bad)?,
        },
        added: suppressing::now(),
    })
}

/// Lines of an import, counted.
#[derive(Default)]
struct Tally {
    good: u64,
    bad: u64,
}

fn import(server: &ServerArgs, args: &ImportArgs) -> Result<(), Failure> {
    let format = format(args.format.as_deref(), &args.file)?;
    let defaults = defaults(args)?;
    let is_stdin = args.file.as_os_str() == "-";
    if is_stdin && !args.skip_bad && !args.dry_run {
        return Err(Failure::new(
            "all or nothing reads the file twice, which standard input cannot be; name a file, or use --skip-bad",
        ));
    }
    if !args.skip_bad || args.dry_run {
        let mut lines = Lines::new(input(&args.file)?, format, defaults.clone());
        let tally = read(&mut lines, &args.file, |_| Ok(()))?;
        if args.dry_run || tally.bad > 0 {
            let (good, bad) = (tally.good, tally.bad);
            println!("{good} good lines, {bad} bad lines; nothing was imported");
            return if bad > 0 { Err(Failure::silent()) } else { Ok(()) };
        }
    }
    let mut desk = Desk::open(server)?;
    let mut rows = Vec::with_capacity(ROWS_OCTETS);
    let mut lines = Lines::new(input(&args.file)?, format, defaults);
    let mut imported = 0_u64;
    let mut put = |rows: &mut Vec<u8>, count: u64| {
        let text = String::from_utf8(std::mem::take(rows)).expect("rows are text");
        let interrupted = |failure| {
            Failure::new(format!("{failure}; {imported} lines had been imported, and importing again does no harm"))
        };
        desk.ask(vec!["put".to_owned(), text]).map_err(interrupted)?;
        imported += count;
        Ok::<_, Failure>(())
    };
    let mut waiting = 0;
    let tally = read(&mut lines, &args.file, |entry| {
        write_csv_row(&mut rows, entry).expect("a vector takes everything");
        waiting += 1;
        if rows.len() >= ROWS_OCTETS - suppression_row_max() {
            put(&mut rows, std::mem::take(&mut waiting))?;
        }
        Ok(())
    })?;
    if waiting > 0 {
        put(&mut rows, waiting)?;
    }
    let counted = desk.ask(vec!["publish".to_owned()])?;
    let entries = counted.value["entries"].as_u64().unwrap_or(0);
    println!("{} lines imported, {} bad lines; the list has {entries} entries", tally.good, tally.bad);
    if tally.bad > 0 { Err(Failure::silent()) } else { Ok(()) }
}

/// Longest row of an entry, octets: its texts quoted, and its words.
const fn suppression_row_max() -> usize {
    2 * suppression::Key::OCTETS_MAX + 4 * Label::OCTETS_MAX + 128
}

/// Reads all lines, tells the bad ones, and gives the good ones on.
fn read(
    lines: &mut Lines<Box<dyn BufRead>>,
    file: &Path,
    mut good: impl FnMut(&Entry) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let failed = |error| Failure::caused(format!("cannot read {}", file.display()), &error);
    while let Some(line) = lines.next_line().map_err(failed)? {
        match line.entry {
            Ok(entry) => {
                good(&entry)?;
                tally.good += 1;
            }
            Err(wrong) => {
                eprintln!("{}:{}: {wrong}", file.display(), line.number);
                tally.bad += 1;
            }
        }
    }
    Ok(tally)
}

fn input(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened =
        File::open(file).map_err(|error| Failure::caused(format!("cannot read {}", file.display()), &error))?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, opened)))
}

fn export(server: &ServerArgs, file: &Path, asked: Option<&str>) -> Result<(), Failure> {
    let format = format(asked, file)?;
    let failed = |error| Failure::caused(format!("cannot write {}", file.display()), &error);
    let mut desk = Desk::open(server)?;
    let is_stdout = file.as_os_str() == "-";
    let out: Box<dyn Write> =
        if is_stdout { Box::new(std::io::stdout().lock()) } else { Box::new(File::create_new(file).map_err(failed)?) };
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let word = match format {
        Format::Csv => "csv",
        Format::JsonLines => "json",
    };
    if format == Format::Csv {
        write_csv_header(&mut out).map_err(failed)?;
    }
    let (mut entries, mut cursor) = (0, None);
    loop {
        let mut words = vec!["rows".to_owned(), EXPORT_PAGE.to_string(), word.to_owned()];
        words.extend(cursor.take());
        let page = desk.ask(words)?.value;
        out.write_all(page["rows"].as_str().unwrap_or("").as_bytes()).map_err(failed)?;
        entries += page["count"].as_u64().unwrap_or(0);
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    out.flush().map_err(failed)?;
    if !is_stdout {
        println!("{entries} entries written to {}", file.display());
    }
    Ok(())
}
