//! Many outbound connections that all stand in a tarpit: what each costs in memory.

use crate::server::{Server, folder};
use crate::{Figure, Request};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// See the table in `main.rs`.
pub(crate) fn outbound(request: &Request) -> Result<(), String> {
    let n = request.n.unwrap_or(5000) as usize;
    let folder = folder()?;
    let tarpit = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = tarpit.local_addr().map_err(|error| error.to_string())?;
    let held = Arc::new(AtomicUsize::new(0));
    let count = held.clone();
    // It greets and never answers EHLO.
    std::thread::spawn(move || {
        let mut sessions = Vec::new();
        for mut stream in tarpit.incoming().flatten() {
            let _ = stream.write_all(b"220 slow\r\n");
            sessions.push(stream);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(|error| error.to_string())?.port();
    let config = format!(
        "[listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:{port}\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
         max_messages_per_session = 0\nmax_recipients_per_session = 0\n\
         [domain.\"*\"]\nroute = \"smtp://{address}\"\nmax_connections = {n}\nconnection_ramp = \"straight\"\n"
    );
    let server = Server::start(folder.path(), &config, &[])?;
    std::thread::sleep(Duration::from_millis(500));
    let before = server.resident_kib()?;
    send(port, 2 * n).map_err(|error| error.to_string())?;
    let began = Instant::now();
    while held.load(Ordering::Relaxed) < n && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let open = held.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(1));
    let after = server.resident_kib()?;
    let print = |figure: &str, value: f64, unit: &str| {
        request.print(&Figure { bench: "outbound", figure, value, unit, peer: None });
    };
    print("connections", open as f64, "connections");
    print("until open", began.elapsed().as_secs_f64(), "s");
    print("memory", after.saturating_sub(before) as f64 / open.max(1) as f64, "KiB/connection");
    Ok(())
}

/// Small messages, one transaction at a time, replies read in bulk.
fn send(port: u16, n: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    stream.write_all(b"EHLO bench\r\n")?;
    for id in 0..n {
        write!(stream, "MAIL FROM:<load@bench.test>\r\nRCPT TO:<u{id}@t.test>\r\nDATA\r\n")?;
        wait(&mut stream, &mut buffer, "354")?;
        stream.write_all(b"Subject: x\r\n\r\nx\r\n.\r\n")?;
        wait(&mut stream, &mut buffer, "250")?;
    }
    Ok(())
}

fn wait(stream: &mut TcpStream, buffer: &mut [u8], code: &str) -> std::io::Result<()> {
    loop {
        let n = stream.read(buffer)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&buffer[..n]);
        if text.lines().last().is_some_and(|line| line.starts_with(code)) {
            return Ok(());
        }
    }
}
