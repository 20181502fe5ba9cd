//! The TCP connection of a link: it introduces the peers, and stays open as the tether that tells of death.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::hello::{BadHello, Hello, MESSAGE};

/// A silent peer's machine is asked after this time whether it is there, and then each [`PROBE_EVERY`].
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// Time between probes.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Unanswered probes after which the peer counts as dead.
const PROBES: u32 = 3;

/// The connection, non-blocking, with the part of a message that has come.
pub(crate) struct Control {
    stream: TcpStream,
    filled: usize,
    bytes: [u8; MESSAGE],
}

/// What was heard.
pub(crate) enum Heard {
    /// Nothing new.
    Nothing,
    /// A message.
    Message(Hello),
    /// Bytes that are none.
    Bad(BadHello),
    /// The peer has hung up.
    End,
}

impl Control {
    /// Over a connected stream.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let probes =
            socket2::TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
        socket2::SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(Self { stream, filled: 0, bytes: [0; MESSAGE] })
    }

    /// Says one thing. The few messages of a link fit a socket's buffer, so one that does not go at once means that the connection is broken.
    pub(crate) fn say(&mut self, hello: &Hello) -> io::Result<()> {
        self.stream.write_all(&hello.pack())
    }

    /// Hears one thing, if there is one.
    pub(crate) fn hear(&mut self) -> Heard {
        while self.filled < MESSAGE {
            match self.stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Heard::End,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Heard::End,
            }
        }
        self.filled = 0;
        match Hello::parse(&self.bytes) {
            Ok(hello) => Heard::Message(hello),
            Err(bad) => Heard::Bad(bad),
        }
    }

    /// Hangs up: the peer sees the end, and so do we.
    pub(crate) fn hang_up(&self) {
        // It fails only when the connection is gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Notes;
    use std::net::TcpListener;

    #[test]
    fn a_message_in_pieces_is_heard_once_it_is_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut control = Control::new(listener.accept().unwrap().0).unwrap();
        let bytes = Hello::Finish([3, 4], Notes::default()).pack();
        peer.write_all(&bytes[..10]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(matches!(control.hear(), Heard::Nothing));
        peer.write_all(&bytes[10..]).unwrap();
        peer.write_all(&Hello::Ready.pack()[..50]).unwrap();
        drop(peer);
        let heard = loop {
            match control.hear() {
                Heard::Nothing => std::thread::yield_now(),
                heard => break heard,
            }
        };
        assert!(matches!(heard, Heard::Message(Hello::Finish([3, 4], _))));
        let end = loop {
            match control.hear() {
                Heard::Nothing => std::thread::yield_now(),
                heard => break heard,
            }
        };
        assert!(matches!(end, Heard::End), "half a message at the end is no message");
    }
}
