//! A next hop that takes everything and counts it, a thread a connection; and one that never greets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const STACK_BYTES: usize = 128 << 10;

/// A listening next hop.
pub(crate) struct Sink {
    pub(crate) port: u16,
    began: Instant,
    /// Messages taken, connections taken, and when the first message came: microseconds since `began`, 0 if none did.
    messages: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    first: Arc<AtomicU64>,
    /// Connections to which nothing is said, until the sink is dropped.
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Sink {
    /// One that takes everything.
    pub(crate) fn start() -> Result<Self, String> {
        Self::listen(|stream, sink| {
            let shared = (sink.messages.clone(), sink.first.clone(), sink.began);
            let talk = move || {
                // A peer that hangs up ends its own connection.
                let _ = talk(stream, &shared.0, &shared.1, shared.2);
            };
            let _ = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(talk);
        })
    }

    /// One that takes connections and says nothing.
    pub(crate) fn tarpit() -> Result<Self, String> {
        Self::listen(|stream, sink| sink.held.lock().unwrap_or_else(PoisonError::into_inner).push(stream))
    }

    fn listen(mut take: impl FnMut(TcpStream, &Self) + Send + 'static) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let own = Self {
            port,
            began: Instant::now(),
            messages: Arc::default(),
            connections: Arc::default(),
            first: Arc::default(),
            held: Arc::default(),
        };
        let theirs = Self {
            port,
            began: own.began,
            messages: own.messages.clone(),
            connections: own.connections.clone(),
            first: own.first.clone(),
            held: own.held.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                theirs.connections.fetch_add(1, Ordering::Relaxed);
                take(stream, &theirs);
            }
        });
        Ok(own)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// When the first message came.
    pub(crate) fn first(&self) -> Option<Instant> {
        match self.first.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.began + std::time::Duration::from_micros(micros)),
        }
    }
}

impl Drop for Sink {
    /// The next run needs the descriptors.
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn talk(stream: TcpStream, messages: &AtomicU64, first: &AtomicU64, began: Instant) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // One descriptor for both directions.
    let (mut reader, mut stream) = (BufReader::with_capacity(16 << 10, &stream), &stream);
    stream.write_all(b"220 sink\r\n")?;
    let (mut line, mut replies, mut in_data) = (Vec::new(), Vec::new(), false);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if in_data {
            if line == b".\r\n" {
                in_data = false;
                messages.fetch_add(1, Ordering::Relaxed);
                let now = began.elapsed().as_micros() as u64;
                let _ = first.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
                replies.extend_from_slice(b"250 ok\r\n");
            }
        } else {
            match line.get(..4) {
                Some(b"DATA") => {
                    in_data = true;
                    replies.extend_from_slice(b"354 go on\r\n");
                }
                Some(b"EHLO") => replies.extend_from_slice(b"250-sink\r\n250 PIPELINING\r\n"),
                Some(b"QUIT") => return stream.write_all(b"221 bye\r\n"),
                _ => replies.extend_from_slice(b"250 ok\r\n"),
            }
        }
        if reader.buffer().is_empty() && !replies.is_empty() {
            stream.write_all(&replies)?;
            replies.clear();
        }
    }
}
