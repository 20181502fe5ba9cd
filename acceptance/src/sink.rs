//! A next hop that counts what arrives and can be as difficult as a test wants.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the next hop behaves.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Wait before the reply to the content.
    pub delay_content: Duration,
    /// Wait before the greeting.
    pub delay_greeting: Duration,
    /// Replies in the place of 250, by what the command line holds: `("RCPT TO:<gone", "550 5.1.1 gone")`.
    pub replies: Vec<(&'static str, &'static str)>,
    /// EHLO keywords beyond the greeting.
    pub keywords: Vec<&'static str>,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// MAIL as it came.
    pub mail: String,
    /// RCPT lines that were accepted.
    pub recipients: Vec<String>,
    /// The content without dot-stuffing.
    pub content: Vec<u8>,
    /// The address that the connection came from.
    pub peer: IpAddr,
    /// EHLO or LHLO as it came.
    pub hello: String,
}

#[derive(Default)]
struct State {
    arrivals: Mutex<Vec<Arrival>>,
    ids: Mutex<HashMap<String, u32>>,
    sessions: AtomicUsize,
    open: AtomicUsize,
    quiet: AtomicBool,
    stopped: AtomicBool,
}

/// A listening next hop.
pub struct Sink {
    /// Its port on loopback.
    pub port: u16,
    address: String,
    state: Arc<State>,
}

impl Sink {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(manner: Manner) -> Self {
        Self::start_on("127.0.0.1:0", manner)
    }

    /// Listens on this address.
    pub fn start_on(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let local = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, manner) = (shared.clone(), manner.clone());
                std::thread::spawn(move || {
                    shared.sessions.fetch_add(1, Ordering::Relaxed);
                    shared.open.fetch_add(1, Ordering::Relaxed);
                    let _ = session(&stream, &shared, &manner);
                    let _ = stream.shutdown(Shutdown::Both);
                    shared.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port: local.port(), address: local.to_string(), state }
    }

    /// Keeps no contents from now on, only the ids: for large runs.
    pub fn count_only(self) -> Self {
        self.state.quiet.store(true, Ordering::Relaxed);
        self
    }

    /// What arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.lock().expect("no session panics").clone()
    }

    /// How often each recipient's local part arrived.
    pub fn ids(&self) -> HashMap<String, u32> {
        self.state.ids.lock().expect("no session panics").clone()
    }

    /// Number of different recipients that arrived.
    pub fn unique(&self) -> usize {
        self.state.ids.lock().expect("no session panics").len()
    }

    /// Sessions so far.
    pub fn sessions(&self) -> usize {
        self.state.sessions.load(Ordering::Relaxed)
    }

    /// Sessions open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

/// Reads a line with its end; empty at the end of the stream.
fn line(reader: &mut impl std::io::BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(1 << 20).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn session(stream: &TcpStream, state: &State, manner: &Manner) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    std::thread::sleep(manner.delay_greeting);
    stream.write_all(b"220 sink.test ESMTP\r\n")?;
    let mut replies = Vec::new();
    let (peer, mut hello) = (stream.peer_addr()?.ip(), String::new());
    let fresh =
        |mail: String, hello: &str| Arrival { mail, recipients: vec![], content: vec![], peer, hello: hello.into() };
    let mut arrival = fresh(String::new(), "");
    loop {
        // Replies to pipelined commands leave together.
        if reader.buffer().is_empty() && !replies.is_empty() {
            stream.write_all(&replies)?;
            replies.clear();
        }
        let octets = line(&mut reader)?;
        if octets.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&octets).trim_end().to_owned();
        let verb = text.get(..4).unwrap_or("").to_ascii_uppercase();
        if let Some((_, reply)) = manner.replies.iter().find(|(part, _)| text.contains(part)) {
            replies.extend_from_slice(format!("{reply}\r\n").as_bytes());
            if reply.starts_with("421") {
                return stream.write_all(&replies);
            }
            continue;
        }
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                hello = text;
                let keywords: String = manner.keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
                let offer =
                    format!("250-sink.test\r\n{keywords}250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
                replies.extend_from_slice(offer.as_bytes());
            }
            "MAIL" => {
                arrival = fresh(text, &hello);
                replies.extend_from_slice(b"250 2.1.0 ok\r\n");
            }
            "RCPT" => {
                arrival.recipients.push(text);
                replies.extend_from_slice(b"250 2.1.5 ok\r\n");
            }
            "DATA" => {
                replies.extend_from_slice(b"354 go on\r\n");
                stream.write_all(&replies)?;
                replies.clear();
                if !content(&mut reader, &mut arrival.content)? {
                    return Ok(());
                }
                std::thread::sleep(manner.delay_content);
                keep(state, &arrival);
                replies.extend_from_slice(b"250 2.0.0 kept\r\n");
            }
            "QUIT" => return stream.write_all(b"221 2.0.0 bye\r\n"),
            _ => replies.extend_from_slice(b"250 2.0.0 ok\r\n"),
        }
    }
}

/// Reads content to its end; false if the stream ended before.
fn content(reader: &mut impl std::io::BufRead, out: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        let octets = line(reader)?;
        match octets.as_slice() {
            [] => return Ok(false),
            b".\r\n" => return Ok(true),
            [b'.', rest @ ..] => out.extend_from_slice(rest),
            other => out.extend_from_slice(other),
        }
    }
}

fn keep(state: &State, arrival: &Arrival) {
    let mut ids = state.ids.lock().expect("no session panics");
    for recipient in &arrival.recipients {
        let id = recipient.split(['<', '@']).nth(1).unwrap_or("").to_owned();
        *ids.entry(id).or_default() += 1;
    }
    drop(ids);
    if !state.quiet.load(Ordering::Relaxed) {
        state.arrivals.lock().expect("no session panics").push(arrival.clone());
    }
}
