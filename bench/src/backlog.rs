//! A large queue: what it costs in memory, and how soon a killed server delivers from it again.

use crate::server::{Server, folder};
use crate::{Figure, Request};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

pub(crate) const SESSIONS: u64 = 50;

/// See the table in `main.rs`.
pub(crate) fn backlog(request: &Request) -> Result<(), String> {
    let n = request.n.unwrap_or(1_000_000);
    let folder = folder()?;
    let sink = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let sink_port = sink.local_addr().map_err(|error| error.to_string())?.port();
    let port = free_port()?;
    let config = |route: &str| {
        format!(
            "[listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:{port}\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
             max_messages_per_session = 0\nmax_recipients_per_session = 0\n[domain.\"*\"]\nroute = \"{route}\"\n"
        )
    };
    let print = |figure: &str, value: f64, unit: &str| {
        request.print(&Figure { bench: "backlog", figure, value, unit, peer: None });
    };
    let mut server = Server::start(folder.path(), &config("hold:"), &[])?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            scope.spawn(move || fill(port, session * n / SESSIONS..(session + 1) * n / SESSIONS, &thousand_domains));
        }
    });
    print("filling", n as f64 / began.elapsed().as_secs_f64(), "messages/s");
    std::thread::sleep(std::time::Duration::from_secs(5));
    print("resident", server.resident_kib()? as f64 / 1024.0, "MiB");
    server.kill();
    let accepted = std::thread::spawn(move || first_message(&sink));
    let began = Instant::now();
    let mut server = Server::start(folder.path(), &config(&format!("smtp://127.0.0.1:{sink_port}")), &[])?;
    print("killed to ready", began.elapsed().as_secs_f64(), "s");
    let first = accepted.join().map_err(|_| "the sink failed")??;
    print("killed to first delivery", (first - began).as_secs_f64(), "s");
    std::thread::sleep(std::time::Duration::from_secs(2));
    print("resident after restart", server.resident_kib()? as f64 / 1024.0, "MiB");
    server.kill();
    Ok(())
}

pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Spreads messages over a thousand domains.
pub(crate) fn thousand_domains(id: u64) -> String {
    format!("d{}.test", id % 1000)
}

/// Sends messages of 4 KiB, pipelined, to the domains of their numbers.
pub(crate) fn fill(port: u16, ids: std::ops::Range<u64>, domain: &dyn Fn(u64) -> String) {
    let line = "The quick brown fox jumps over the lazy dog and runs on through the field.\r\n";
    let body = format!("Subject: load\r\n\r\n{}.\r\n", line.repeat(4096 / line.len()));
    let talk = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut read = |replies: usize| -> std::io::Result<()> {
            let mut line = String::new();
            for _ in 0..replies {
                loop {
                    line.clear();
                    reader.read_line(&mut line)?;
                    if line.as_bytes().get(3) != Some(&b'-') {
                        break;
                    }
                }
            }
            Ok(())
        };
        read(1)?;
        stream.write_all(b"EHLO bench\r\n")?;
        read(1)?;
        for id in ids {
            write!(stream, "MAIL FROM:<load@bench.test>\r\nRCPT TO:<u{id}@{}>\r\nDATA\r\n", domain(id))?;
            read(3)?;
            stream.write_all(body.as_bytes())?;
            read(1)?;
        }
        Ok(())
    };
    if let Err(error) = talk() {
        eprintln!("a filling session failed: {error}");
    }
}

/// Plays a next hop until the first message has come, then goes on refusing: the moment it came.
fn first_message(sink: &TcpListener) -> Result<Instant, String> {
    for stream in sink.incoming() {
        let talk = |mut stream: TcpStream| -> std::io::Result<Instant> {
            let mut reader = BufReader::new(stream.try_clone()?);
            stream.write_all(b"220 sink\r\n")?;
            let mut line = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                match line.get(..4) {
                    Some("DATA") => stream.write_all(b"354 go on\r\n")?,
                    Some(".\r\n") => return Ok(Instant::now()),
                    _ if line == ".\r\n" => return Ok(Instant::now()),
                    Some("EHLO" | "MAIL" | "RCPT" | "RSET") => stream.write_all(b"250 ok\r\n")?,
                    _ => {}
                }
            }
        };
        if let Ok(moment) = stream.and_then(talk) {
            return Ok(moment);
        }
    }
    Err("no message came".into())
}
