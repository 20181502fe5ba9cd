//! Listening sockets, with the options a mail server needs.
//!
//! Each loop has a listener of its own on the same port, between which the kernel spreads connections. A listener's
//! TCP_NODELAY is inherited by what it accepts, which saves a system call for each session.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::stream::{Peer, Stream, StreamSocket};

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

/// One listener for each of `count` loops on the same address, which nobody else may listen on; port 0 becomes one free
/// port for all.
///
/// # Errors
/// Those of [`listen`].
pub fn listen_each(
    address: SocketAddr,
    options: &ListenOptions,
    count: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    // Sockets that share a port would share it with another server's, too: one that shares with nobody looks first.
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    if address.is_ipv6() {
        probe.set_only_v6(true)?;
    }
    probe.bind(&address.into())?;
    drop(probe);
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
                    .map_ok(|(socket, peer)| Stream::new(StreamSocket::Tcp(socket), Peer::Inet(peer))),
                ListenerSocket::Unix(listener) => listener
                    .poll_accept(context)
                    .map_ok(|(socket, _)| Stream::new(StreamSocket::Unix(socket), Peer::Unix)),
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
