//! The command line: stable from the first release, tests and scripts depend on it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Queues of memory windows between threads, processes and machines: measure them, pipe through them, look into them.
#[derive(Debug, Parser)]
#[command(name = "fabric", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) loading: LoadArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Transports besides those that are built in.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// A transport module to load, signed in FILE.minisig; may be given several times
    #[arg(long = "module", value_name = "FILE", global = true)]
    pub(crate) modules: Vec<PathBuf>,
    /// A minisign public key that is trusted to sign modules; may be given several times
    #[arg(long = "key", value_name = "RW…", global = true)]
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure a channel: the payload of every message is written and read in full
    Perf {
        #[command(subcommand)]
        command: PerfCommand,
    },
    /// Time round trips to a peer that answers pings, or answer them
    Ping(PingArgs),
    /// Send standard input over a channel, and write what comes to standard output
    Cat(CatArgs),
    /// Look at the links of a running process over shared memory, read-only
    Inspect(InspectArgs),
    /// Record what passes: between two peers, or what one peer sends
    Capture(CaptureArgs),
    /// Send the messages of a recording once more, or print them
    Replay(ReplayArgs),
    /// What transports there are, and what others lack on this machine
    Schemes(SchemesArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PerfCommand {
    /// How many messages pass in a second
    Thr(PerfArgs),
    /// How long a message and its answer take
    Lat(PerfArgs),
}

/// What is measured, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct PerfArgs {
    /// The channel's address, as ipc:NAME or tcp://127.0.0.1:4000
    #[arg(long)]
    pub(crate) uri: String,
    /// Payload of a message in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    pub(crate) size: u32,
    /// Messages that count; a tenth more goes before them, to warm up
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) messages: u32,
    /// Receivers look without end, each using a processor
    #[arg(long, conflicts_with = "park")]
    pub(crate) busy: bool,
    /// Receivers sleep whenever nothing is there; default: they look for a while before they sleep
    #[arg(long)]
    pub(crate) park: bool,
    /// How the payload becomes a message
    #[arg(long, value_enum, default_value_t = Frames::Copy)]
    pub(crate) frames: Frames,
    /// The peer runs our code as our user: messages are read where they lie instead of being copied out first
    #[arg(long)]
    pub(crate) trust: bool,
    /// Be the listening side only: it receives (thr) or answers (lat); start the other side elsewhere
    #[arg(long, conflicts_with = "connect")]
    pub(crate) listen: bool,
    /// Be the connecting side only: it sends (thr) or asks (lat)
    #[arg(long)]
    pub(crate) connect: bool,
    /// How long to wait for the peer, and for a message while measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u32,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// This is the peer that a measuring process has started for itself
    #[arg(long, hide = true)]
    pub(crate) started: bool,
}

/// How a payload becomes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Frames {
    /// Written into memory of the sender's own, from which it is copied into the channel's windows
    Copy,
    /// Written into the channel's windows, where they are as a message is made
    Place,
    /// Written into a window of an arena, which passes by reference where the transport shares memory
    Window,
}

/// One side of a channel.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChannelArgs {
    /// The channel's address, as ipc:NAME or tcp://127.0.0.1:4000
    pub(crate) uri: String,
    /// Wait there for the peer; default: go to it. Either side may be started first
    #[arg(long)]
    pub(crate) listen: bool,
    /// Size of a window for sending; no message can be longer
    #[arg(long, value_name = "BYTES")]
    pub(crate) window_bytes: Option<usize>,
    /// Number of windows for sending
    #[arg(long, value_name = "N")]
    pub(crate) windows: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) channel: ChannelArgs,
    /// Answer pings instead, until the peer goes
    #[arg(long)]
    pub(crate) answer: bool,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) count: u32,
    /// From one to the next
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) interval: u64,
    /// How long to wait for the peer, and for an answer
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub(crate) timeout: u64,
    /// Payload in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 56)]
    pub(crate) size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) channel: ChannelArgs,
    /// One way only; default: both
    #[arg(long, value_enum)]
    pub(crate) only: Option<Way>,
}

/// One direction of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Standard input to the channel
    Send,
    /// The channel to standard output
    Receive,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A process by its number, or the address at which one listens, as ipc:NAME
    pub(crate) target: String,
    /// Look again and again, this long apart
    #[arg(long, value_name = "MS")]
    pub(crate) every: Option<u64>,
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// The recording, which must not exist yet; only its owner can read it
    pub(crate) file: PathBuf,
    /// Where one peer connects to
    #[arg(long, value_name = "URI")]
    pub(crate) from: String,
    /// Where the other peer listens: all is passed on, both ways. Without it, what comes is recorded and dropped
    #[arg(long, value_name = "URI")]
    pub(crate) to: Option<String>,
    /// The longest that the recording may become
    #[arg(long, value_name = "N", default_value_t = 1 << 30)]
    pub(crate) bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Which messages: those that went to the recorded side's peer, or those that came from it
    #[arg(long, value_enum, default_value_t = Taken::In)]
    pub(crate) direction: Taken,
    /// As fast as they go; default: with the pauses that they had
    #[arg(long)]
    pub(crate) at_once: bool,
}

/// Where a replay goes.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The channel's address
    #[arg(required_unless_present = "print")]
    pub(crate) uri: Option<String>,
    /// Wait there for the peer; default: go to it
    #[arg(long)]
    pub(crate) listen: bool,
    /// Print what the recording holds instead
    #[arg(long, conflicts_with = "uri")]
    pub(crate) print: bool,
}

/// Which messages of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Taken {
    /// To the peer of the recorded side
    Out,
    /// From it
    In,
    /// All
    Both,
}

#[derive(Debug, Args)]
pub(crate) struct SchemesArgs {
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}
