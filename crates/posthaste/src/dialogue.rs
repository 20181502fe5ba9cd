//! A blocking SMTP conversation for `send` and for the demo's generator: plain, pipelined where offered.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// One session with a server.
pub(crate) struct Dialogue {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum DialogueError {
    /// The connection failed.
    Io(io::Error),
    /// The server refused a command; the command and its reply.
    Refused { command: String, reply: String },
}

impl std::fmt::Display for DialogueError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the connection failed"),
            Self::Refused { command, reply } => write!(f, "{command} was refused: {reply}"),
        }
    }
}

impl std::error::Error for DialogueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

impl From<io::Error> for DialogueError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How long one reply may take.
const TIMEOUT: Duration = Duration::from_secs(300);

impl Dialogue {
    /// Connects and says EHLO.
    pub(crate) fn open(server: impl ToSocketAddrs) -> Result<Self, DialogueError> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut dialogue = Self { stream: BufReader::new(stream), out: Vec::new() };
        dialogue.expect("connecting", 2)?;
        dialogue.command("EHLO localhost", 2)?;
        Ok(dialogue)
    }

    /// Sends one message, commands in one write; the server's last word on it.
    pub(crate) fn message(&mut self, from: &str, to: &[String], content: &[u8]) -> Result<String, DialogueError> {
        self.out.clear();
        write!(self.out, "MAIL FROM:<{from}>\r\n")?;
        for recipient in to {
            write!(self.out, "RCPT TO:<{recipient}>\r\n")?;
        }
        self.out.extend_from_slice(b"DATA\r\n");
        self.stream.get_mut().write_all(&self.out)?;
        let mail = self.expect(&format!("MAIL FROM:<{from}>"), 2);
        let mut accepted = mail.map(|_| ());
        for recipient in to {
            let reply = self.expect(&format!("RCPT TO:<{recipient}>"), 2);
            accepted = accepted.and(reply.map(|_| ()));
        }
        let data = self.expect("DATA", 3);
        accepted?;
        data?;
        self.out.clear();
        stuff(content, &mut self.out);
        self.stream.get_mut().write_all(&self.out)?;
        self.expect("the message", 2)
    }

    /// QUIT.
    pub(crate) fn close(mut self) -> Result<(), DialogueError> {
        self.command("QUIT", 2).map(|_| ())
    }

    fn command(&mut self, line: &str, class: u16) -> Result<String, DialogueError> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        self.expect(line, class)
    }

    /// Reads one reply, whose first digit must be `class`.
    fn expect(&mut self, command: &str, class: u16) -> Result<String, DialogueError> {
        let mut reply = String::new();
        loop {
            let from = reply.len();
            if self.stream.read_line(&mut reply)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if reply.as_bytes().get(from + 3) != Some(&b'-') {
                break;
            }
        }
        let reply = reply.trim_end().replace("\r\n", " ");
        match reply.bytes().next() {
            Some(digit) if u16::from(digit) == u16::from(b'0') + class => Ok(reply),
            _ => Err(DialogueError::Refused { command: command.into(), reply }),
        }
    }
}

/// Lines with CRLF, dots doubled, and the dot that ends it (RFC 5321 §4.5.2).
fn stuff(content: &[u8], out: &mut Vec<u8>) {
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_end_becomes_crlf_and_dots_are_doubled() {
        let stuffed = |content: &[u8]| {
            let mut out = Vec::new();
            stuff(content, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(stuffed(b"a\n.b\r\n..\nc"), "a\r\n..b\r\n...\r\nc\r\n.\r\n");
        assert_eq!(stuffed(b""), ".\r\n");
    }
}
