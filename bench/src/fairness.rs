//! A thousand domains whose next hop takes everything, alone, and beside thousands whose next hop takes connections and says
//! nothing: the rate at which the first get their mail.

use crate::backlog::{fill, free_port};
use crate::server::{Server, folder};
use crate::sink::Sink;
use crate::{Figure, Request};
use std::time::{Duration, Instant};

/// Domains that work.
const HEALTHY: u64 = 1000;
/// Messages to them in a run.
const MESSAGES: u64 = 100_000;
/// And to each that does not.
const STUCK_EACH: u64 = 3;
const SESSIONS: u64 = 20;
/// Pairs of runs; the medians count.
const ROUNDS: usize = 3;

/// See the table in `main.rs`.
pub(crate) fn fairness(request: &Request) -> Result<(), String> {
    let stuck = request.n.unwrap_or(10_000);
    let (mut alone, mut beside) = (vec![], vec![]);
    let mut connections = 0;
    for _ in 0..ROUNDS {
        alone.push(run(0)?.0);
        let (rate, open) = run(stuck)?;
        beside.push(rate);
        connections = open;
    }
    let middle = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (alone, beside) = (middle(alone), middle(beside));
    let print = |figure: &str, value: f64, unit: &str| {
        request.print(&Figure { bench: "fairness", figure, value, unit, peer: None });
    };
    print("connections in the tarpit", connections as f64, "connections");
    print("rate alone", alone, "messages/s");
    print("rate beside the tarpit", beside, "messages/s");
    print("kept", 100.0 * beside / alone, "%");
    Ok(())
}

/// The rate of the healthy domains beside so many that are stuck, and how many connections those hold.
fn run(stuck: u64) -> Result<(f64, u64), String> {
    let folder = folder()?;
    let (sink, tarpit, port) = (Sink::start()?, Sink::tarpit()?, free_port()?);
    let config = format!(
        "[listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:{port}\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
         max_messages_per_session = 0\nmax_recipients_per_session = 0\n[domain.\"*\"]\nmax_connections = 1\n\
         [domain.'/^d[0-9]+/']\nroute = \"smtp://127.0.0.1:{}\"\n[domain.'/^t[0-9]+/']\nroute = \"smtp://127.0.0.1:{}\"\n",
        sink.port, tarpit.port
    );
    let _server = Server::start(folder.path(), &config, &[])?;
    send(port, stuck * STUCK_EACH, &|id| format!("t{}.test", id / STUCK_EACH));
    let began = Instant::now();
    while tarpit.connections() < stuck && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    send(port, MESSAGES, &|id| format!("d{}.test", id % HEALTHY));
    while sink.messages() < MESSAGES {
        if began.elapsed() > Duration::from_secs(120) {
            return Err(format!("{} of {MESSAGES} messages came in two minutes", sink.messages()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((MESSAGES as f64 / began.elapsed().as_secs_f64(), tarpit.connections()))
}

fn send(port: u16, n: u64, domain: &(dyn Fn(u64) -> String + Sync)) {
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            scope.spawn(move || fill(port, session * n / SESSIONS..(session + 1) * n / SESSIONS, domain));
        }
    });
}
