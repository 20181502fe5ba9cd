//! Sockets as connectors need them: never blocking, small packets sent at once, dead hosts noticed.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockAddr, Socket, TcpKeepalive, Type};

use crate::address::{Address, Place};

/// Visitors that may wait in the kernel while a link is up.
const BACKLOG: i32 = 16;
const KEEPALIVE_PROBES: u32 = 4;

/// Listens at `at`.
pub(crate) fn listen(address: &Address, at: &SockAddr) -> io::Result<Socket> {
    let socket = new(address, at)?;
    if matches!(address.place, Place::Tcp { .. }) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(at)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A visitor of a listener; `WouldBlock` when there is none.
pub(crate) fn accept(address: &Address, listener: &Socket) -> io::Result<Socket> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    equip(address, &socket)?;
    Ok(socket)
}

/// Begins to connect.
pub(crate) fn connect(address: &Address, to: &SockAddr) -> io::Result<Socket> {
    let socket = new(address, to)?;
    equip(address, &socket)?;
    match socket.connect(to) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether a connection has come about; `WouldBlock` while that is open.
pub(crate) fn connected(socket: &Socket) -> io::Result<()> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)
}

fn new(address: &Address, at: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(at.domain(), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Before connecting and listening: the window scale depends on it.
    if let Some(bytes) = address.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = address.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket)
}

fn equip(address: &Address, socket: &Socket) -> io::Result<()> {
    if !matches!(address.place, Place::Tcp { .. }) {
        return Ok(());
    }
    socket.set_tcp_nodelay(true)?;
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new()
        .with_time((address.dead / 2).max(second))
        .with_interval((address.dead / 2 / KEEPALIVE_PROBES).max(second))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(address.dead))
}
