//! Connections: made from a chosen source address or accepted, TCP or Unix, one type for both.
//!
//! No call here allocates (making a socket apart). A read that leaves room in the buffer tells the loop that the socket
//! is empty, which saves the system call that would find that out. Time-outs come from [`crate::Timers`].

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    net::{IpAddr, Shutdown, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    listener::Sending,
    timers::{TimedOut, Timers},
};

/// The most slices that the kernel takes in one call (`UIO_MAXIOV`).
pub const SLICES_PER_CALL_MAX: usize = 1024;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// No socket could be made: descriptors or memory are short.
    Socket(io::Error),
    /// The source address is not ours or has no free port.
    Bind(io::Error),
    /// The peer or the network refused.
    Connect(io::Error),
    /// The peer did not answer in time.
    TimedOut,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::Socket(_) => "cannot make a socket",
            ConnectError::Bind(_) => "cannot use the source address",
            ConnectError::Connect(_) => "connection failed",
            ConnectError::TimedOut => "connection timed out",
        })
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Socket(source) | ConnectError::Bind(source) | ConnectError::Connect(source) => Some(source),
            ConnectError::TimedOut => None,
        }
    }
}

/// Connects to `remote`, from the address `local` if one is given, within `timeout`. The source port is chosen when the
/// destination is known (IP_BIND_ADDRESS_NO_PORT), so that one source address serves 28,000 connections to *each*
/// destination instead of to all together.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    timers: &Timers,
    local: Option<IpAddr>,
    remote: SocketAddr,
    timeout: Duration,
) -> Result<Stream, ConnectError> {
    let socket =
        Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP)).map_err(ConnectError::Socket)?;
    socket.set_nonblocking(true).and_then(|()| socket.set_tcp_nodelay(true)).map_err(ConnectError::Socket)?;
    if let Some(local) = local {
        set_bind_address_no_port(&socket).map_err(ConnectError::Socket)?;
        socket.bind(&SocketAddr::new(local, 0).into()).map_err(ConnectError::Bind)?;
    }
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    match timers.after(timeout).limit(socket.connect(remote)).await {
        Ok(Ok(socket)) => Ok(Stream { socket: StreamSocket::Tcp(socket), peer: Peer::Inet(remote) }),
        Ok(Err(source)) => Err(ConnectError::Connect(source)),
        Err(TimedOut) => Err(ConnectError::TimedOut),
    }
}

/// Connects to a Unix socket.
///
/// # Errors
/// [`ConnectError::Connect`].
pub async fn connect_unix(path: &Path) -> Result<Stream, ConnectError> {
    let socket = tokio::net::UnixStream::connect(path).await.map_err(ConnectError::Connect)?;
    Ok(Stream { socket: StreamSocket::Unix(socket), peer: Peer::Unix })
}

fn set_bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four fits");
    // SAFETY: the descriptor is open for the whole call, which the borrow of `socket` proves; the value pointer is valid
    // for reads of `length` bytes and the kernel keeps nothing of it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address of the network.
    Inet(SocketAddr),
    /// A process of this machine.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// A connection on one loop.
#[derive(Debug)]
pub struct Stream {
    socket: StreamSocket,
    peer: Peer,
}

#[derive(Debug)]
pub(crate) enum StreamSocket {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// Calls the same method of either socket.
macro_rules! either {
    ($stream:expr, $socket:ident => $call:expr) => {
        match &$stream.socket {
            StreamSocket::Tcp($socket) => $call,
            StreamSocket::Unix($socket) => $call,
        }
    };
}

impl Stream {
    pub(crate) fn new(socket: StreamSocket, peer: Peer) -> Stream {
        Stream { socket, peer }
    }

    /// Puts a connected TCP socket on the calling loop, with TCP_NODELAY.
    ///
    /// # Errors
    /// It is not connected or cannot be watched.
    pub fn from_tcp(socket: std::net::TcpStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let peer = Peer::Inet(socket.peer_addr()?);
        Ok(Stream { socket: StreamSocket::Tcp(tokio::net::TcpStream::from_std(socket)?), peer })
    }

    /// Puts a connected Unix socket on the calling loop.
    ///
    /// # Errors
    /// It cannot be watched.
    pub fn from_unix(socket: std::os::unix::net::UnixStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        Ok(Stream { socket: StreamSocket::Unix(tokio::net::UnixStream::from_std(socket)?), peer: Peer::Unix })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Our address; `None` for a Unix socket or one that is gone. A system call.
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.socket {
            StreamSocket::Tcp(socket) => socket.local_addr().ok(),
            StreamSocket::Unix(_) => None,
        }
    }

    /// Reads what there is, or waits. 0 is the end of what the peer sends. This is the way to read: when the bytes do
    /// not fill `buffer` the socket is known to be empty and the next wait begins without another system call. The
    /// buffer is needed only while this call runs, so an idle session may borrow its loop's buffer for each poll.
    ///
    /// # Errors
    /// Those of `recv`: the peer reset the connection, or it timed out.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let polled = match &mut self.socket {
            StreamSocket::Tcp(socket) => Pin::new(socket).poll_read(context, &mut buffer),
            StreamSocket::Unix(socket) => Pin::new(socket).poll_read(context, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Like [`Stream::poll_read`].
    ///
    /// # Errors
    /// Those of `recv`.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Waits until there is something to read, the end or an error included.
    ///
    /// # Errors
    /// The loop is ending.
    pub async fn readable(&self) -> io::Result<()> {
        either!(self, socket => socket.readable().await)
    }

    /// Like [`Stream::readable`], for a task that waits for other things too.
    ///
    /// # Errors
    /// The loop is ending.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_read_ready(context))
    }

    /// Waits until there is room to write.
    ///
    /// # Errors
    /// The loop is ending.
    pub async fn writable(&self) -> io::Result<()> {
        either!(self, socket => socket.writable().await)
    }

    /// Like [`Stream::writable`], for a task that waits for other things too.
    ///
    /// # Errors
    /// The loop is ending.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, socket => socket.poll_write_ready(context))
    }

    /// Reads what there is; 0 is the end of what the peer sends.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; else those of `recv`.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_read(buffer))
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else those of `send`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_write(bytes))
    }

    /// Writes as much of the first [`SLICES_PER_CALL_MAX`] slices as there is room for, in one system call.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else those of `writev`.
    pub fn try_writev(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(SLICES_PER_CALL_MAX)];
        either!(self, socket => socket.try_write_vectored(slices))
    }

    /// Writes all of `slices`, however many; they are used up in place.
    ///
    /// # Errors
    /// Those of `writev`; how much was written is then unknown.
    pub async fn write_all_vectored(&self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = slices;
        // Drops empty slices at the front, of which a call would return 0.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.try_writev(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As [`Stream::write_all_vectored`].
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_vectored(&mut [IoSlice::new(bytes)]).await
    }

    /// Ends our side: the peer reads the end, we may still read.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.socket_ref().shutdown(Shutdown::Write)
    }

    /// Has the coming drop reset the connection instead of closing it in order: for a peer that deserves no memory.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn reset_when_dropped(&self) -> io::Result<()> {
        self.socket_ref().set_linger(Some(Duration::ZERO))
    }

    /// Whether small writes leave at once.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn sending(&self) -> io::Result<Sending> {
        match &self.socket {
            StreamSocket::Tcp(socket) if !socket.nodelay()? => Ok(Sending::Collected),
            _ => Ok(Sending::Immediate),
        }
    }

    fn socket_ref(&self) -> SockRef<'_> {
        either!(self, socket => SockRef::from(socket))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        either!(self, socket => socket.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, os::unix::fs::PermissionsExt, rc::Rc};

    use super::*;
    use crate::{
        ListenOptions, Listener, LoopContext, LoopOptions, PortSharing, TaskKind, listen, listen_each, listen_unix,
        run_here,
    };

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const LONG: Duration = Duration::from_secs(30);

    fn on_a_loop<F: Future<Output = ()> + 'static>(body: impl FnOnce(LoopContext) -> F + 'static) {
        let limited = |context: LoopContext| async move {
            let limit = context.timers().after(std::time::Duration::from_secs(20));
            let outcome = limit.limit(body(context.clone())).await;
            // A lost wake-up shows here even if the last poll, at the limit, finds everything done.
            assert!(outcome.is_ok() && !limit.has_fired(), "the test hangs");
        };
        run_here(LoopOptions::default(), limited).unwrap();
    }

    fn any_port() -> SocketAddr {
        SocketAddr::new(LOOPBACK, 0)
    }

    /// Two ends of one connection, ours first.
    async fn pair(context: &LoopContext, options: &ListenOptions) -> (Stream, Stream) {
        let listener = Listener::from_tcp(listen(any_port(), options).unwrap()).unwrap();
        let client = connect(context.timers(), None, listener.local().unwrap(), LONG).await.unwrap();
        (client, listener.accept().await.unwrap())
    }

    async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0u8; 4096]);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => return all,
                length => all.extend_from_slice(&buffer[..length]),
            }
        }
    }

    #[test]
    fn bytes_go_both_ways_and_either_side_may_end_first() {
        on_a_loop(|context| async move {
            let (mut client, mut server) = pair(&context, &ListenOptions::default()).await;
            client.write_all(b"EHLO").await.unwrap();
            let mut buffer = [0u8; 16];
            server.readable().await.unwrap();
            assert_eq!(server.try_read(&mut buffer).unwrap(), 4);
            assert_eq!(server.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            client.shutdown_write().unwrap();
            assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
            server.write_all(b"250").await.unwrap();
            drop(server);
            assert_eq!(read_to_end(&mut client).await, b"250");
        });
    }

    #[test]
    fn accepted_and_connected_sockets_send_at_once() {
        on_a_loop(|context| async move {
            let (client, server) = pair(&context, &ListenOptions::default()).await;
            assert_eq!(server.sending().unwrap(), Sending::Immediate);
            assert_eq!(client.sending().unwrap(), Sending::Immediate);
            assert_eq!(Peer::Inet(client.local().unwrap()), server.peer());
            let collected = ListenOptions { sending: Sending::Collected, ..ListenOptions::default() };
            assert_eq!(pair(&context, &collected).await.1.sending().unwrap(), Sending::Collected);
        });
    }

    /// More slices than one call takes, into a socket that has no room for them, to a reader that is slow.
    #[test]
    fn thousands_of_slices_arrive_whole_through_partial_writes() {
        on_a_loop(|context| async move {
            let small = ListenOptions { send_buffer: Some(4096), ..ListenOptions::default() };
            let (mut client, server) = pair(&context, &small).await;
            let pieces: Vec<Vec<u8>> = (0..5000u32).map(|n| vec![n.to_le_bytes()[0]; n as usize % 900]).collect();
            let expected = pieces.concat();
            let partial = Rc::new(RefCell::new(0));
            let count = partial.clone();
            let writer = context.spawn(TaskKind("writer"), async move {
                let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                // What a single call makes of them, for the record of this test.
                let total: usize = slices.iter().map(|slice| slice.len()).sum();
                server.writable().await.unwrap();
                let first = server.try_writev(&slices).unwrap();
                *count.borrow_mut() = total - first;
                let mut rest = &mut slices[..];
                IoSlice::advance_slices(&mut rest, first);
                server.write_all_vectored(rest).await.unwrap();
            });
            context.timers().sleep(Duration::from_millis(20)).await;
            let received = read_to_end(&mut client).await;
            writer.await.unwrap();
            assert!(*partial.borrow() > 0, "one call wrote everything");
            assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
        });
    }

    #[test]
    fn empty_slices_write_nothing_and_do_not_fail() {
        on_a_loop(|context| async move {
            let (mut client, server) = pair(&context, &ListenOptions::default()).await;
            server.write_all_vectored(&mut []).await.unwrap();
            server.write_all_vectored(&mut [IoSlice::new(b""), IoSlice::new(b"")]).await.unwrap();
            server.write_all_vectored(&mut [IoSlice::new(b""), IoSlice::new(b"a"), IoSlice::new(b"")]).await.unwrap();
            drop(server);
            assert_eq!(read_to_end(&mut client).await, b"a");
        });
    }

    #[test]
    fn each_loop_listens_on_one_port_and_every_connection_is_taken() {
        on_a_loop(|context| async move {
            let listeners = listen_each(any_port(), &ListenOptions::default(), 3).unwrap();
            let address = listeners[0].local_addr().unwrap();
            assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
            let taken = Rc::new(RefCell::new([0u32; 3]));
            for (index, listener) in listeners.into_iter().enumerate() {
                let (taken, listener) = (taken.clone(), Listener::from_tcp(listener).unwrap());
                let accept = async move {
                    loop {
                        let stream = listener.accept().await.unwrap();
                        taken.borrow_mut()[index] += 1;
                        stream.write_all(b"220").await.unwrap();
                    }
                };
                context.spawn(TaskKind("listener"), accept).detach();
            }
            for _ in 0..60 {
                let mut client = connect(context.timers(), None, address, LONG).await.unwrap();
                assert_eq!(read_to_end(&mut client).await, b"220");
            }
            let taken = taken.borrow();
            assert_eq!(taken.iter().sum::<u32>(), 60);
            assert!(taken.iter().filter(|&&count| count > 0).count() >= 2, "{taken:?}");
        });
    }

    #[test]
    fn an_exclusive_port_is_not_shared() {
        let exclusive = ListenOptions { sharing: PortSharing::Exclusive, ..ListenOptions::default() };
        let listener = listen(any_port(), &exclusive).unwrap();
        let again = listen(listener.local_addr().unwrap(), &exclusive).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_connection_leaves_from_its_source_and_gets_its_port_when_it_connects() {
        on_a_loop(|context| async move {
            let listeners = listen_each(any_port(), &ListenOptions::default(), 1).unwrap();
            let remote = listeners[0].local_addr().unwrap();
            let source = IpAddr::from([127, 0, 0, 7]);
            let stream = connect(context.timers(), Some(source), remote, LONG).await.unwrap();
            assert_eq!(stream.local().unwrap().ip(), source);
            assert_ne!(stream.local().unwrap().port(), 0);
            assert!(has_bind_address_no_port(&stream));
            let free = connect(context.timers(), None, remote, LONG).await.unwrap();
            assert!(!has_bind_address_no_port(&free));
            let foreign = IpAddr::from([192, 0, 2, 1]);
            let refused = connect(context.timers(), Some(foreign), remote, LONG).await.unwrap_err();
            assert!(matches!(refused, ConnectError::Bind(_)), "{refused:?}");
        });
    }

    fn has_bind_address_no_port(stream: &Stream) -> bool {
        let mut value: libc::c_int = 0;
        let mut length = libc::socklen_t::try_from(size_of_val(&value)).unwrap();
        let option = libc::IP_BIND_ADDRESS_NO_PORT;
        let target = std::ptr::from_mut(&mut value).cast();
        // SAFETY: the descriptor is open, which the borrow of `stream` proves; `value` and `length` are valid for writes
        // and outlive the call, and `length` is the size of `value`.
        let done =
            unsafe { libc::getsockopt(stream.as_fd().as_raw_fd(), libc::IPPROTO_IP, option, target, &mut length) };
        assert_eq!(done, 0);
        value != 0
    }

    #[test]
    fn a_bound_socket_has_no_port_before_it_connects() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set_bind_address_no_port(&socket).unwrap();
        socket.bind(&any_port().into()).unwrap();
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().port(), 0);
    }

    #[test]
    fn a_refusal_and_a_silent_peer_are_told_apart() {
        on_a_loop(|context| async move {
            // Bound, so that nobody else gets the port, and not listening.
            let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            bound.bind(&any_port().into()).unwrap();
            let closed = bound.local_addr().unwrap().as_socket().unwrap();
            let refused = connect(context.timers(), None, closed, LONG).await.unwrap_err();
            assert!(
                matches!(&refused, ConnectError::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
            );
            // A listener whose queue is full lets further connections wait for an answer.
            let full = ListenOptions { backlog: 0, ..ListenOptions::default() };
            let listener = listen(any_port(), &full).unwrap();
            let mut waiting = Vec::new();
            let silent = loop {
                let remote = listener.local_addr().unwrap();
                match connect(context.timers(), None, remote, Duration::from_millis(50)).await {
                    Ok(stream) if waiting.len() < 10 => waiting.push(stream),
                    outcome => break outcome.unwrap_err(),
                }
            };
            assert!(matches!(silent, ConnectError::TimedOut), "{silent:?}");
        });
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        on_a_loop(|_| async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("console.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let listener = Listener::from_unix(listen_unix(&path, 0o600).unwrap()).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(listen_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            // The probe above is the first in the queue.
            drop(listener.accept().await.unwrap());
            let mut client = connect_unix(&path).await.unwrap();
            let server = listener.accept().await.unwrap();
            assert_eq!((server.peer(), server.local(), listener.local()), (Peer::Unix, None, None));
            server.write_all(b"hello").await.unwrap();
            drop(server);
            assert_eq!(read_to_end(&mut client).await, b"hello");
        });
    }

    #[test]
    fn a_reset_is_an_error_at_the_peer() {
        on_a_loop(|context| async move {
            let (mut client, server) = pair(&context, &ListenOptions::default()).await;
            server.reset_when_dropped().unwrap();
            drop(server);
            let error = client.read(&mut [0u8; 8]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}
