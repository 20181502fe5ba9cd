//! `posthaste demo`: the server on loopback, a second one as its sink, mail through both, and an open end.
//!
//! ```text
//!  generator ─ SMTP ─► server (journal, queue) ─ SMTP ─► sink server (memory) ──► maildir ./var/demo/maildir
//! ```
//! Both servers are the real composition: two can live in one process.

use crate::dialogue::Dialogue;
use crate::failure::Failure;
use crate::run;
use crate::server::{Observer, Server, StartOptions};
use engine::ProcessUsage;
use message::Event;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Where the server of the demo listens.
const PORT: u16 = 2525;
/// Where its sink listens.
const SINK_PORT: u16 = 2526;
/// Sessions of the generator.
const SESSIONS: u32 = 16;
/// Octets of a message.
const SIZE: usize = 4096;
/// After so long without a delivery the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long each message took from its reception to its delivery, microseconds.
#[derive(Default)]
struct Latencies(Mutex<Vec<u64>>);

impl Observer for Latencies {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Delivered { attempt, .. } = event
            && let Ok(mut latencies) = self.0.lock()
        {
            latencies.push(attempt.message.reception.at.until(attempt.at).as_micros() as u64);
        }
    }
}

impl Latencies {
    fn len(&self) -> usize {
        self.0.lock().map_or(0, |latencies| latencies.len())
    }

    /// The latency that `percent` of all messages stay below.
    fn percentile(&self, percent: usize) -> Duration {
        let mut latencies = self.0.lock().map(|latencies| latencies.clone()).unwrap_or_default();
        latencies.sort_unstable();
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        Duration::from_micros(latencies.get(at).copied().unwrap_or(0))
    }
}

/// Runs the demo.
pub(crate) fn demo(messages: u32, go_on: GoOn) -> Result<(), Failure> {
    let latencies = Arc::new(Latencies::default());
    let filed = Arc::new(Latencies::default());
    let sink = Server::start(run::parse("demo sink", &sink_config())?, observed_by(&filed))?;
    let server = Server::start(run::parse("demo", &server_config())?, observed_by(&latencies))?;
    println!(
        "posthaste listens on 127.0.0.1:{PORT}; its sink on 127.0.0.1:{SINK_PORT} keeps a maildir in ./var/demo/maildir"
    );
    push(messages, &latencies, &filed)?;
    println!("\nSend a message of your own:\n");
    let program = std::env::args().next().unwrap_or_else(|| "posthaste".into());
    println!("    {program} send --to you@example.org --text hello\n");
    println!("and find it in ./var/demo/maildir/new. The log is ./var/demo/log/mainlog.ec.");
    if matches!(go_on, GoOn::UntilInterrupted) {
        println!("Serving until Ctrl-C.");
        run::until_interrupted()?;
    }
    server.stop();
    sink.stop();
    Ok(())
}

fn observed_by(latencies: &Arc<Latencies>) -> StartOptions {
    StartOptions { observer: Some(latencies.clone()), ..StartOptions::default() }
}

/// What to do after the messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GoOn {
    /// Serve until Ctrl-C.
    UntilInterrupted,
    /// End.
    No,
}

/// Sends the messages and shows how they arrive; returns when the sink has filed them all.
fn push(messages: u32, latencies: &Latencies, filed: &Latencies) -> Result<(), Failure> {
    let usage = || ProcessUsage::read().map_err(|error| Failure::caused("cannot read the CPU time used", &error));
    let (before, began) = (usage()?.cpu, Instant::now());
    let share = move |session: u32| (messages / SESSIONS) + u32::from(session < messages % SESSIONS);
    let generators: Vec<_> = (0..SESSIONS.min(messages))
        .map(|session| std::thread::spawn(move || generate(session, share(session))))
        .collect();
    let relayed = wait(messages as usize, latencies);
    let took = began.elapsed();
    println!();
    for generator in generators {
        let result = generator.join().map_err(|_| Failure::new("a generator of the demo failed"))?;
        result.map_err(|error| Failure::caused("the demo's generator was refused", &error))?;
    }
    if relayed < messages as usize {
        return Err(Failure::new(format!("only {relayed} of {messages} messages were delivered")));
    }
    let in_maildir = wait(messages as usize, filed);
    println!();
    if in_maildir < messages as usize {
        return Err(Failure::new(format!("the sink filed only {in_maildir} of {messages} messages")));
    }
    let cpu = usage()?.cpu.saturating_sub(before);
    println!("{messages} messages of {SIZE} octets, durable before their 250, in {:.2} s", took.as_secs_f64());
    println!("  rate       {:>10.0} messages/s", f64::from(messages) / took.as_secs_f64());
    println!(
        "  latency    {:>10.1} ms p50, {:.1} ms p99",
        millis(latencies.percentile(50)),
        millis(latencies.percentile(99))
    );
    let each = cpu.as_secs_f64() * 1e6 / f64::from(messages.max(1));
    println!("  CPU        {each:>10.0} us a message, for server, sink with maildir, and generator together");
    Ok(())
}

/// Shows how `done` grows until it is `all`, or nothing has come for too long; what it was in the end.
fn wait(all: usize, done: &Latencies) -> usize {
    let (mut seen, mut moved) = (0, Instant::now());
    while seen < all && moved.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
        let now = done.len();
        if now > seen {
            (seen, moved) = (now, Instant::now());
        }
        bar(seen.min(all), all);
    }
    seen
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn bar(done: usize, all: usize) {
    let width = 40;
    let full = done * width / all.max(1);
    print!("\r[{}{}] {done}/{all}", "#".repeat(full), " ".repeat(width - full));
    // A terminal that is gone does not matter to the mail.
    let _ = std::io::stdout().flush();
}

/// One session of the generator.
fn generate(session: u32, messages: u32) -> Result<(), crate::dialogue::DialogueError> {
    let line = "The quick brown fox jumps over the lazy dog and runs on through the field.\r\n";
    let mut dialogue = Dialogue::open(("127.0.0.1", PORT))?;
    for n in 0..messages {
        let mut content =
            format!("From: <demo@localhost>\r\nTo: <u{n}@example.org>\r\nSubject: demo {session}.{n}\r\n\r\n");
        while content.len() + line.len() < SIZE {
            content.push_str(line);
        }
        dialogue.message("demo@localhost", &[format!("u{n}.{session}@example.org")], content.as_bytes())?;
    }
    dialogue.close()
}

fn server_config() -> String {
    format!(
        r#"
[server]
hostname = "localhost"
data_dir = "var/demo/spool"
log_dir = "var/demo/log"
run_dir = "var/demo/run"

[listener.mx]
protocol = "smtp"
bind = ["127.0.0.1:{PORT}"]
relay_from = ["127.0.0.0/8"]

[domain."*"]
route = "smtp://127.0.0.1:{SINK_PORT}"

[log.main]
format = "ec"
path = "mainlog.ec"
"#
    )
}

fn sink_config() -> String {
    format!(
        r#"
[server]
hostname = "sink.localhost"
data_dir = "var/demo/sink"
log_dir = "var/demo/sink-log"
run_dir = "var/demo/sink-run"
durability = "memory"

[spool]
store = "memory"

[listener.sink]
protocol = "smtp"
bind = ["127.0.0.1:{SINK_PORT}"]
relay_from = ["127.0.0.0/8"]

[domain."*"]
route = "maildir:var/demo/maildir"
"#
    )
}
