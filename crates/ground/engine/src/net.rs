//! Sockets: listeners with the options a mail server needs, connections from a chosen source, and one stream type.
//!
//! No call here allocates (making a socket apart). A read that leaves room in the buffer tells the loop that the socket
//! is empty, which saves the system call that would find that out; a listener's TCP_NODELAY is inherited by what it
//! accepts, which saves one more for each session. Time-outs come from [`crate::Timers`].

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    net::{IpAddr, Shutdown, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, ReadBuf};

use crate::timers::{TimedOut, Timers};

/// The most slices that the kernel takes in one call (`UIO_MAXIOV`).
pub const SLICES_PER_CALL_MAX: usize = 1024;

/// How a listener is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that the kernel completes before we accept them (it caps this at `net.core.somaxconn`).
    pub backlog: u16,
    /// Whether others may listen on the same port.
    pub sharing: PortSharing,
    /// Whether small writes leave at once.
    pub sending: Sending,
    /// Bytes of the kernel's receive buffer; `None` leaves it to the kernel.
    pub receive_buffer: Option<u32>,
    /// Bytes of the kernel's send buffer; `None` leaves it to the kernel.
    pub send_buffer: Option<u32>,
}

/// Whether several listeners share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSharing {
    /// Each event loop has a listener of its own and the kernel spreads connections (SO_REUSEPORT).
    Shared,
    /// One listener; a second bind fails.
    Exclusive,
}

/// What happens to a small write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It leaves at once (TCP_NODELAY).
    Immediate,
    /// It may wait for the peer's acknowledgement of the last one.
    Collected,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            backlog: 4096,
            sharing: PortSharing::Shared,
            sending: Sending::Immediate,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// Listens on a TCP address. An IPv6 address takes no IPv4 connections. The socket does not block.
///
/// # Errors
/// Those of `socket`, `bind` and `listen`: the address is in use, not ours, or forbidden.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(options.sharing == PortSharing::Shared)?;
    socket.set_tcp_nodelay(options.sending == Sending::Immediate)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::from(options.backlog))?;
    Ok(socket.into())
}

/// One listener for each of `count` loops on the same address; port 0 becomes one free port for all.
///
/// # Errors
/// Those of [`listen`].
pub fn listen_each(
    address: SocketAddr,
    options: &ListenOptions,
    count: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    let options = ListenOptions { sharing: PortSharing::Shared, ..*options };
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = listen(address, &options)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Listens on a path with these permission bits. A socket that a former process left behind is replaced; one that
/// somebody answers is not.
///
/// # Errors
/// Those of `bind`; `AddrInUse` if another process listens there.
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                _ => return Err(error),
            }
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A listener on one loop.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// Why no connection was accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// The process or the machine has no descriptor or memory left: pause, then try again.
    Exhausted(io::Error),
    /// The listener is broken.
    Broken(io::Error),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcceptError::Exhausted(_) => "no descriptor or memory left for another connection",
            AcceptError::Broken(_) => "listener does not accept connections",
        })
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AcceptError::Exhausted(source) | AcceptError::Broken(source) => Some(source),
        }
    }
}

impl Listener {
    /// Puts a TCP listener on the calling loop.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener { socket: ListenerSocket::Tcp(tokio::net::TcpListener::from_std(listener)?) })
    }

    /// Puts a Unix listener on the calling loop.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener { socket: ListenerSocket::Unix(tokio::net::UnixListener::from_std(listener)?) })
    }

    /// The TCP address; `None` for a Unix listener.
    pub fn local(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => listener.local_addr().ok(),
            ListenerSocket::Unix(_) => None,
        }
    }

    /// Takes the next connection. Connections that broke before they were accepted are passed over.
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub async fn accept(&self) -> Result<Stream, AcceptError> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// Like [`Listener::accept`], for a task that waits for other things too.
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Stream, AcceptError>> {
        loop {
            let accepted = match &self.socket {
                ListenerSocket::Tcp(listener) => listener
                    .poll_accept(context)
                    .map_ok(|(socket, peer)| Stream { socket: StreamSocket::Tcp(socket), peer: Peer::Inet(peer) }),
                ListenerSocket::Unix(listener) => listener
                    .poll_accept(context)
                    .map_ok(|(socket, _)| Stream { socket: StreamSocket::Unix(socket), peer: Peer::Unix }),
            };
            match accepted {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(Err(error)) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        return Poll::Ready(Err(AcceptError::Exhausted(error)));
                    }
                    Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) | None => {
                        return Poll::Ready(Err(AcceptError::Broken(error)));
                    }
                    // accept(2): errors of the network that belong to the connection, to be treated like EAGAIN.
                    Some(_) => {}
                },
            }
        }
    }
}

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
enum StreamSocket {
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
