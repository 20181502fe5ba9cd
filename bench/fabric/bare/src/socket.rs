//! The kernel's own sockets, one call a message.

use kit::{Figures, Place, Plan, Receiver, Sender, rate, round_trip};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Bytes that each socket may hold, so that the writer seldom sleeps.
const BUFFER_BYTES: i32 = 4 << 20;

/// Two connected Unix sockets.
pub(crate) fn unix_pair(kind: i32) -> [UnixStream; 2] {
    let mut pair = [0; 2];
    // SAFETY: the kernel writes two descriptors into a live array of two.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) };
    assert_eq!(made, 0, "socketpair: {}", io::Error::last_os_error());
    pair.map(|fd| {
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let value: *const i32 = &BUFFER_BYTES;
            // SAFETY: the value is a live integer of the size that is given. The kernel may cut it; that is allowed.
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value.cast(), 4) };
        }
        // SAFETY: the descriptor is new and nobody else's; reads and writes are all that is done with it.
        UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// Two connected TCP sockets on loopback.
pub(crate) fn tcp_pair() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let near = TcpStream::connect(listener.local_addr().expect("a bound listener has an address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("TCP has the option");
    }
    [near, far]
}

/// Rate from the first socket to the second.
pub(crate) fn rate_over<S: Read + Write + Send + AsRawFd>(plan: &Plan, pair: [S; 2]) -> Figures {
    let [near, far] = pair.map(|stream| End { stream, buffer: vec![0; plan.size] });
    rate(plan, Place::Processes, || near, || far)
}

/// Round trips between the two.
pub(crate) fn trip_over<S: Read + Write + Send + AsRawFd>(plan: &Plan, pair: [S; 2]) -> Figures {
    let [near, far] = pair.map(|stream| End { stream, buffer: vec![0; plan.size] });
    round_trip(plan, Place::Processes, || near, || far)
}

struct End<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Write> Sender for End<S> {
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        fill(&mut self.buffer[..len]);
        self.stream.write_all(&self.buffer[..len]).expect("the reader outlives the run");
    }
}

impl<S: Read> Receiver for End<S> {
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        self.stream.read_exact(&mut self.buffer).expect("the writer outlives the run");
        read(&self.buffer)
    }
}
