//! An SMTP client that says exactly what a test tells it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// One session, blocking.
pub struct Client {
    /// The socket, for tests that go below lines.
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a port on loopback; the greeting is not read yet.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a TCP socket");
        let reader = BufReader::new(stream.try_clone().expect("a descriptor is free"));
        Self { stream, reader }
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(octets.as_ref()).expect("the server takes what is sent");
        self
    }

    /// Sends octets, whether or not the server still takes them.
    pub fn try_send(&mut self, octets: &[u8]) -> bool {
        self.stream.write_all(octets).is_ok()
    }

    /// Reads a reply, all its lines; `None` if the server hung up.
    pub fn reply(&mut self) -> Option<(u16, String)> {
        let mut text = String::new();
        loop {
            let from = text.len();
            if self.reader.read_line(&mut text).ok()? == 0 {
                return None;
            }
            let line = &text[from..];
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some((line.get(..3)?.parse().ok()?, text));
            }
        }
    }

    /// Reads a reply, which must have this code; its text.
    pub fn expect(&mut self, code: u16) -> String {
        let reply = self.reply();
        assert!(reply.as_ref().is_some_and(|(got, _)| *got == code), "expected {code}, got {reply:?}");
        reply.map(|(_, text)| text).unwrap_or_default()
    }

    /// Sends a line and expects a reply.
    pub fn command(&mut self, line: &str, code: u16) -> String {
        self.send(format!("{line}\r\n"));
        let reply = self.reply();
        assert!(reply.as_ref().is_some_and(|(got, _)| *got == code), "{line:?}: expected {code}, got {reply:?}");
        reply.map(|(_, text)| text).unwrap_or_default()
    }

    /// EHLO.
    pub fn hello(&mut self) -> String {
        self.command("EHLO client.test", 250)
    }

    /// A whole transaction; `content` without the final dot. The reply to it.
    pub fn message(&mut self, from: &str, to: &[&str], content: &str) -> Option<(u16, String)> {
        self.command(&format!("MAIL FROM:<{from}>"), 250);
        for recipient in to {
            self.command(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.command("DATA", 354);
        self.send(format!("{content}\r\n.\r\n"));
        self.reply()
    }

    /// Whether the server closed the session, within the read time-out.
    pub fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
