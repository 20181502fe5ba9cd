//! A next hop on a real socket: a thread a connection, blocking, with replies that a test can bend.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a peer saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) messages: Vec<Mail>,
    /// Every command, of all connections.
    pub(crate) commands: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) connection: usize,
    pub(crate) recipients: Vec<String>,
    /// Without dots doubled.
    pub(crate) content: Vec<u8>,
}

/// Gives the reply to a command where the usual is not wanted; an empty one closes the connection.
pub(crate) type Bend = dyn Fn(&str) -> Option<String> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Peer {
    pub(crate) fn start(extensions: &[&str], bend: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Peer {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, extensions, bend)
    }

    /// A peer at this address of the loopback network.
    pub(crate) fn start_at(
        ip: IpAddr,
        port: u16,
        extensions: &[&str],
        bend: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Peer {
        let listener = TcpListener::bind((ip, port)).expect("a port");
        let peer = Peer { address: listener.local_addr().expect("an address"), seen: Arc::default() };
        let (seen, bend): (_, Arc<Bend>) = (peer.seen.clone(), Arc::new(bend));
        let extensions: Vec<String> = extensions.iter().map(|&extension| extension.to_owned()).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, bend, extensions) = (seen.clone(), bend.clone(), extensions.clone());
                std::thread::spawn(move || {
                    let number = {
                        let mut seen = seen.lock().expect("not poisoned");
                        seen.connections += 1;
                        seen.connections
                    };
                    // A client that goes away ends its thread.
                    let _ = Conversation { number, seen, bend, extensions }.hold(stream);
                });
            }
        });
        peer
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("not poisoned").clone()
    }
}

struct Conversation {
    number: usize,
    seen: Arc<Mutex<Seen>>,
    bend: Arc<Bend>,
    extensions: Vec<String>,
}

impl Conversation {
    fn hold(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut mail = Mail { connection: self.number, ..Mail::default() };
        writer.write_all((self.bend)("connect").unwrap_or("220 peer\r\n".to_owned()).as_bytes())?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.seen.lock().expect("not poisoned").commands.push(command.clone());
            let verb = command.get(..4).unwrap_or("").to_owned();
            if verb == "BDAT" {
                let size: usize = command.split(' ').nth(1).and_then(|size| size.parse().ok()).expect("a size");
                mail.content = vec![0; size];
                reader.read_exact(&mut mail.content)?;
            }
            let reply = (self.bend)(&command).unwrap_or_else(|| self.usual(&verb));
            if reply.is_empty() {
                return Ok(());
            }
            match verb.as_str() {
                "MAIL" | "RSET" => mail = Mail { connection: self.number, ..Mail::default() },
                "RCPT" if reply.starts_with('2') => mail.recipients.push(command[8..].to_owned()),
                "BDAT" if reply.starts_with('2') => self.take(&mut mail),
                _ => {}
            }
            writer.write_all(reply.as_bytes())?;
            if verb == "DATA" && reply.starts_with('3') {
                mail.content = read_content(&mut reader)?;
                let reply = (self.bend)("content").unwrap_or("250 queued\r\n".to_owned());
                if reply.is_empty() {
                    return Ok(());
                }
                if reply.starts_with('2') {
                    self.take(&mut mail);
                }
                writer.write_all(reply.as_bytes())?;
            }
        }
    }

    fn usual(&self, verb: &str) -> String {
        match verb {
            "EHLO" | "LHLO" => {
                let lines: String = self.extensions.iter().map(|extension| format!("250-{extension}\r\n")).collect();
                format!("250-peer\r\n{lines}250 HELP\r\n")
            }
            "DATA" => "354 go\r\n".to_owned(),
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        }
    }

    fn take(&self, mail: &mut Mail) {
        let taken = std::mem::take(mail);
        self.seen.lock().expect("not poisoned").messages.push(taken);
    }
}

/// Up to the final dot, with doubled dots undone.
fn read_content(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let from = content.len();
        if reader.read_until(b'\n', &mut content)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &content[from..] == b".\r\n" {
            content.truncate(from);
            return Ok(content);
        }
        if content[from] == b'.' {
            content.remove(from);
        }
    }
}

/// Bends nothing.
pub(crate) fn usual(_: &str) -> Option<String> {
    None
}

/// Bends the reply to commands that start so.
pub(crate) fn at(start: &'static str, reply: &'static str) -> impl Fn(&str) -> Option<String> {
    move |command| command.starts_with(start).then(|| reply.to_owned())
}
