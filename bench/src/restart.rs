//! A server that is killed with a large queue and started again: when the first message is delivered, when all are in their
//! queues again, and how many are delivered ten seconds after the start of the process.

use crate::backlog::{SESSIONS, fill, free_port, thousand_domains};
use crate::server::{Server, folder};
use crate::sink::Sink;
use crate::{Figure, Request};
use std::time::{Duration, Instant};

/// See the table in `main.rs`.
pub(crate) fn restart(request: &Request) -> Result<(), String> {
    let n = request.n.unwrap_or(1_000_000);
    let folder = folder()?;
    let (sink, port) = (Sink::start()?, free_port()?);
    let config = |route: &str| {
        format!(
            "[listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:{port}\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
             max_messages_per_session = 0\nmax_recipients_per_session = 0\n[domain.\"*\"]\nmax_connections = 2\n\
             [domain.'/^d[0-9]+/']\nroute = \"{route}\"\n"
        )
    };
    let print = |figure: &str, value: f64, unit: &str| {
        request.print(&Figure { bench: "restart", figure, value, unit, peer: None });
    };
    let mut server = Server::start(folder.path(), &config("hold:"), &[])?;
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let ids = session * n / SESSIONS..(session + 1) * n / SESSIONS;
            scope.spawn(move || fill(port, ids, &thousand_domains));
        }
    });
    server.kill();
    let began = Instant::now();
    let mut server = Server::start(folder.path(), &config(&format!("smtp://127.0.0.1:{}", sink.port)), &[])?;
    print("exec to ready", began.elapsed().as_secs_f64(), "s");
    let mut loaded = None;
    while loaded.is_none() && began.elapsed() < Duration::from_secs(60) {
        let summary = Server::summary(folder.path())?;
        let number = |name: &str| summary[name].as_u64().unwrap_or(0);
        if number("TotalQueueSize") + number("DeliveredMessages") >= n {
            loaded = Some(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(10).saturating_sub(began.elapsed()));
    let (delivered, seconds) = (sink.messages(), began.elapsed().as_secs_f64());
    let first = sink.first().ok_or("no message came")?;
    print("exec to first delivery", (first - began).as_secs_f64(), "s");
    print("exec to all in their queues", loaded.ok_or("not all came back in a minute")?.as_secs_f64(), "s");
    print("delivered", delivered as f64, "messages");
    print("after", seconds, "s");
    print("resident", server.resident_kib()? as f64 / 1024.0, "MiB");
    server.kill();
    Ok(())
}
