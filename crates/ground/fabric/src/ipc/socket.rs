//! The datagrams of an introduction, with what the kernel says of their sender. The two calls that need `unsafe` stand here.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use smallvec::SmallVec;

use crate::tli::Peer;

/// Descriptors in one datagram, at most.
pub(crate) const FILES_MAX: usize = 2;

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// 0: in a namespace that cannot be seen from here.
    pub(crate) pid: u32,
    pub(crate) user: u32,
}

impl Credentials {
    pub(crate) fn peer(self) -> Peer {
        let pid = (self.pid != 0).then_some(self.pid);
        let process = pid.map_or("a process of another namespace".to_owned(), |pid| format!("pid {pid}"));
        Peer { name: format!("{process}, user {}", self.user), pid, user: Some(self.user) }
    }
}

/// One datagram and what came with it.
pub(crate) struct Datagram {
    /// 0: the other end is closed.
    pub(crate) len: usize,
    pub(crate) files: SmallVec<[OwnedFd; FILES_MAX]>,
    /// Of the sender, where the socket asks for that.
    pub(crate) sender: Option<Credentials>,
}

/// Who called `connect` or `listen` at the other end, or made the pair.
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    // By libc, because a process of another namespace has no number here, which rustix cannot say.
    let mut credentials = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `credentials`; the kernel writes no more than that.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: three integers, of which every pattern is one, zeroed at first.
    let credentials = unsafe { credentials.assume_init() };
    Ok(Credentials { pid: u32::try_from(credentials.pid).unwrap_or(0), user: credentials.uid })
}

/// Sends one datagram with `files`; never blocks.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(files));
        debug_assert!(fits, "at most {FILES_MAX} files go with a datagram");
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Room for [`FILES_MAX`] descriptors and one set of credentials, aligned as the kernel's headers need it.
#[repr(C, align(16))]
struct ControlSpace([u8; 128]);

/// Receives one datagram; never blocks. Descriptors beyond [`FILES_MAX`] are closed.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Datagram> {
    match receive_once(socket, into) {
        // The other end closed with something of ours unread, which is told first, and once; what it said before lies behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive_once(socket, into),
        received => received,
    }
}

fn receive_once(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Datagram> {
    let mut space = ControlSpace([0; 128]);
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: a struct of integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = space.0.as_mut_ptr().cast();
    header.msg_controllen = space.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: header, part and space are alive and of the sizes stated.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let mut datagram = Datagram { len, files: SmallVec::new(), sender: None };
    // SAFETY: the kernel filled the header and `msg_controllen` bytes of the space.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: `CMSG_FIRSTHDR` and `CMSG_NXTHDR` return headers that lie within the space.
        let (level, kind, bytes) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len as usize) };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(message) };
        // SAFETY: a computation only.
        let payload = bytes.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for n in 0..payload / size_of::<RawFd>() {
                    // SAFETY: within the payload; the kernel made this descriptor for us, and nobody else knows it.
                    let file = unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(n).read_unaligned()) };
                    if datagram.files.len() < FILES_MAX {
                        datagram.files.push(file);
                    }
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if payload >= size_of::<libc::ucred>() => {
                // SAFETY: within the payload; integers of which every pattern is one.
                let sender = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                datagram.sender = Some(Credentials { pid: u32::try_from(sender.pid).unwrap_or(0), user: sender.uid });
            }
            _ => {}
        }
        // SAFETY: `message` is a header of this space.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    Ok(datagram)
}

/// Whether there is nothing to receive, or no room to send, at the moment.
pub(crate) fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Makes a pair of sockets without a name, for a process and one that it starts: each end opens one.
///
/// # Errors
/// When the system has no descriptors left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    let kind = rustix::net::SocketType::SEQPACKET;
    let (one, other) = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None)?;
    // Before anybody can send, so that no hello comes without its sender's name.
    ask_for_sender(one.as_fd())?;
    ask_for_sender(other.as_fd())?;
    Ok((one, other))
}

/// Has the kernel say with every datagram who sent it. Those of a pair that was inherited were not sent by who made it.
pub(crate) fn ask_for_sender(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::sockopt::set_socket_passcred(socket, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_sender_come_with_a_datagram() {
        let (one, other) = pair().expect("sockets");
        let file = rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        send(one.as_fd(), b"abc", &[file.as_fd(), file.as_fd()]).expect("sent");
        let mut bytes = [0; 8];
        let datagram = receive(other.as_fd(), &mut bytes).expect("received");
        assert_eq!((datagram.len, &bytes[..3], datagram.files.len()), (3, &b"abc"[..], 2));
        let sender = datagram.sender.expect("it was asked for");
        assert_eq!((sender.pid, sender.user), (std::process::id(), rustix::process::geteuid().as_raw()));
        assert!(would_block(&receive(other.as_fd(), &mut bytes).err().expect("empty")));
        drop(one);
        assert_eq!(receive(other.as_fd(), &mut bytes).expect("closed").len, 0);
    }
}
