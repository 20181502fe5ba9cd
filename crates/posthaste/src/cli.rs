//! The command line: stable from the first release, tests and operators depend on it.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A mail transfer agent for people who send and receive mail by the million.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve; without a file: on loopback only, with everything below ./var
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Serve on loopback with a local sink, push mail through, and go on serving until Ctrl-C
    Demo {
        /// How many messages to push through
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        messages: u32,
        /// End after the messages instead of going on serving
        #[arg(long)]
        once: bool,
    },
    /// Validate a configuration: errors with their position and what would be right; exit 1 if there are any
    CheckConfig {
        /// The configuration
        file: PathBuf,
    },
    /// What a scope resolves to, each value with where it comes from
    ShowConfig {
        /// The configuration
        file: PathBuf,
        /// `server`, `listener.NAME`, `domain.NAME`, `binding.NAME/domain.NAME`, …; without it: everything
        scope: Option<String>,
    },
    /// Operator commands to a running server, one here or any number interactively
    Console {
        #[command(flatten)]
        server: ServerArgs,
        /// The command; without one, commands are read from standard input
        words: Vec<String>,
    },
    /// Look at the queues of a running server, and operate on them
    Queue {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Look into the spool; works while the server runs, too
    Spool {
        #[command(flatten)]
        place: SpoolArgs,
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Traffic shaping: what is in force, and its rules: validate, explain, try on recorded outcomes
    Shaping {
        #[command(subcommand)]
        command: ShapingCommand,
    },
    /// Addresses that get no mail: on the running server, or on the list's files when none runs
    Suppression {
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        command: SuppressionCommand,
    },
    /// Inject a message by SMTP
    Send(SendArgs),
    /// Classify replies and messages that came back; needs no server
    Bounce {
        #[command(subcommand)]
        command: BounceCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BounceCommand {
    /// The class of a reply, and the rule it follows from
    Test {
        /// The reply: "550 5.1.1 user unknown"; `\n` separates its lines
        reply: String,
        /// The recipient's domain
        #[arg(long, value_name = "D", default_value = "")]
        domain: String,
        /// The name of the host that said it
        #[arg(long, value_name = "HOST", default_value = "")]
        host: String,
        /// Where it was said: banner, ehlo, tls, mail, rcpt, data, content, report, …
        #[arg(long, value_name = "PHASE")]
        phase: Option<String>,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// What a message that came back is: for each recipient action, status, class, who it was, and why
    Classify {
        /// The message; `-` is standard input
        file: PathBuf,
        /// The envelope recipient it came to
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// A file with a key of the marks; may be repeated
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// The header field of the marks, if it is another
        #[arg(long, value_name = "NAME")]
        header: Option<String>,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Validate a rule file: faults with their position and what would be right; exit 1 if there are any
    Check {
        /// The rule file
        file: PathBuf,
    },
}

/// With which rules to classify.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// A rule file, asked before the built-in rules
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which server to talk to.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The console socket; default: what the configuration says, else ./var/run/console.sock
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// The configuration that names the socket
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Sums, and the largest queues
    Summary,
    /// What holds a queue, who says so, and when it is looked at again
    Why {
        /// A domain
        domain: String,
        /// Only on this binding
        binding: Option<String>,
    },
    /// How many recipients wait
    Count(FilterArgs),
    /// Recipients that wait, with their addresses
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Make delayed mail active now
    Flush(OperationArgs),
    /// Let mail rest, also mail that comes later
    Suspend {
        #[command(flatten)]
        operation: OperationArgs,
        /// Until so much time has passed: 20m, or a number of seconds; without it until it is resumed or the server ends
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<String>,
    },
    /// End suspensions
    Resume(OperationArgs),
    /// Give mail up, with bounces unless told otherwise
    Fail {
        #[command(flatten)]
        operation: OperationArgs,
        /// Tell no sender
        #[arg(long)]
        quiet: bool,
        /// What senders and logs are told, instead of a text of the server's own: "550 5.7.1 why"
        #[arg(long, value_name = "TEXT")]
        reply: Option<String>,
    },
    /// Send mail where the configuration says now, or where mail for another domain goes
    Reroute {
        #[command(flatten)]
        operation: OperationArgs,
        /// The other domain
        #[arg(long, value_name = "DOMAIN")]
        to: Option<String>,
    },
    /// Send mail by another binding
    Rebind {
        #[command(flatten)]
        operation: OperationArgs,
        /// The binding
        #[arg(long, value_name = "BINDING")]
        to: String,
    },
    /// Try mail no sooner than after a time
    Delay {
        #[command(flatten)]
        operation: OperationArgs,
        /// The time: 20m, 1d12h
        #[arg(long = "for", value_name = "SPAN")]
        span: String,
    },
    /// Copy mail into an empty folder on the server, for `spool import`; it stays queued
    Export {
        #[command(flatten)]
        operation: OperationArgs,
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// What rests by an operator's word
    Suspensions,
    /// The recipients of one queue, or of all
    Show {
        /// A domain container's name
        domain: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// Which mail; all that is named must hold.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// A domain, or the name of a container, or `all`
    pub(crate) domain: Option<String>,
    /// Only on this binding
    pub(crate) binding: Option<String>,
    /// Only of this binding group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only from this address, or from `@domain`; `<>` is the null reverse-path
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) sender: Option<String>,
    /// Only to this address, or to `@domain`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) recipient: Option<String>,
    /// Only with this header field: `X-Stream: news`, or `X-Stream` for any value; may be repeated
    #[arg(long, value_name = "NAME[: VALUE]")]
    pub(crate) header: Vec<String>,
    /// Only received at least so long ago
    #[arg(long, value_name = "SPAN")]
    pub(crate) older: Option<String>,
    /// Only received at most so long ago
    #[arg(long, value_name = "SPAN")]
    pub(crate) younger: Option<String>,
}

/// Which mail, and whether it is done.
#[derive(Debug, Args)]
pub(crate) struct OperationArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Only say how many recipients it would touch
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which spool to read.
#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// The configuration that says where the spool is; default: the built-in one, below ./var
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for programs, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// Messages that are not done yet, with what each recipient waits for
    List,
    /// A message as it lies in the spool
    Cat {
        /// Its id, printed or in full
        id: String,
    },
    /// Verify every checksum; exit 1 if anything is damaged
    Check,
    /// Write all messages to a folder, two files each: envelope and content
    Export {
        /// A folder that does not exist yet or is empty
        folder: PathBuf,
    },
    /// Read messages from such a folder into the spool; the server must not be running
    Import {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShapingCommand {
    /// What the running server has in force: for whom, what, until when, by which rule
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End what the running server has in force for a site or a domain
    Clear {
        /// The site, or a domain of it
        site: String,
        /// Only on this binding
        binding: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Validate rule files, read one after the other; `starter` is the server's own
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// The rules about a domain, in the order in which they are tried
    Explain {
        /// The domain
        domain: String,
        /// A rule file; may be repeated; without one the server's own rules
        #[arg(long, value_name = "FILE")]
        rules: Vec<PathBuf>,
        /// The site that the domain's mail exchangers make up; default: the domain
        #[arg(long)]
        site: Option<String>,
        /// The binding
        #[arg(long, default_value = "default")]
        binding: String,
        /// The tenant
        #[arg(long, default_value = "")]
        tenant: String,
    },
    /// What rules would have decided over recorded outcomes; the last path is the log, JSON lines in order of time
    Simulate {
        /// Rule files, and the log
        #[arg(required = true, num_args = 2.., value_name = "FILE… LOG")]
        paths: Vec<PathBuf>,
        /// Print JSON for programs, one object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SuppressionCommand {
    /// Stop mail to an address
    Add {
        /// local@domain
        address: String,
        #[command(flatten)]
        scope: ListedScope,
        /// Why: bounce, bounce:CLASS, complaint, unsubscribe or manual
        #[arg(long)]
        reason: Option<String>,
        /// Who says so; default: console
        #[arg(long)]
        source: Option<String>,
        /// Until when: seconds since 1970, or 2026-11-25T09:00:00Z; default: for ever
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Take an address off the list, from every scope if none is given
    Remove {
        /// local@domain
        address: String,
        #[command(flatten)]
        scope: ListedScope,
    },
    /// Whether mail to an address is stopped, and by which entries
    Check {
        /// local@domain
        address: String,
        #[command(flatten)]
        scope: ListedScope,
    },
    /// Entries, a page at a time, in no particular order
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Behind the page that ended with this cursor
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// How many entries there are, and their memory
    Count,
    /// Write the list's files anew, without what has expired
    Compact,
    /// Add the entries of a file; every bad line is told with its number
    Import(ImportArgs),
    /// Write all entries to a file that does not exist yet, for `import` to read
    Export {
        /// The file; `-` is standard output
        file: PathBuf,
        /// csv or json (an object a line); default: by the file's name, else csv
        #[arg(long)]
        format: Option<String>,
    },
}

/// Where an entry holds.
#[derive(Debug, Args)]
pub(crate) struct ListedScope {
    /// One tenant's mail; default: everybody's
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// all, transactional or non_transactional; default: all
    #[arg(long)]
    pub(crate) kind: Option<String>,
}

/// A file of entries.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file: addresses, one a line, or CSV with a line of column names, or JSON objects, one a line; `-` is standard
    /// input
    pub(crate) file: PathBuf,
    /// csv or json; default: by the file's name, else csv
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Import the good lines even if there are bad ones
    #[arg(long, conflicts_with = "all_or_nothing")]
    pub(crate) skip_bad: bool,
    /// Import nothing if there is a bad line: the default
    #[arg(long)]
    pub(crate) all_or_nothing: bool,
    /// Only say which lines are good
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Scope of lines that name none
    #[command(flatten)]
    pub(crate) scope: ListedScope,
    /// Reason of lines that give none; default: manual
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Source of lines that name none; default: import
    #[arg(long)]
    pub(crate) source: Option<String>,
}

/// A message to inject.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Where to: host:port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2525")]
    pub(crate) to_server: String,
    /// The reverse-path; empty for none
    #[arg(long, default_value = "")]
    pub(crate) from: String,
    /// A recipient; may be repeated
    #[arg(long, required = true)]
    pub(crate) to: Vec<String>,
    /// A Subject header, if the message is made here
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// The text of the message; without it and without a file, standard input
    #[arg(long, conflicts_with = "file")]
    pub(crate) text: Option<String>,
    /// A file with a whole message: headers, empty line, body
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
