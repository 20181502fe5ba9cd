//! A connected socket, bare or under TLS. Links read and write through it; it never blocks.

use std::ffi::c_int;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::ioctl;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::Socket;

#[cfg(feature = "tls")]
use crate::tls::Tls;

/// See [`Stream::unsent`].
const SIOCOUTQNSD: ioctl::Opcode = 0x894b;

/// One connection.
pub(crate) struct Stream {
    socket: Socket,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Mutex<Tls>>,
}

impl Stream {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self {
            socket,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn over_tls(socket: Socket, tls: Tls) -> Self {
        Self { socket, tls: Some(std::sync::Mutex::new(tls)) }
    }

    /// Reads what is there, up to the whole of `into`. 0: the peer has ended its side.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return locked(tls).read(&self.socket, into);
        }
        Ok(rustix::net::recv(&self.socket, &mut *into, RecvFlags::DONTWAIT)?.0)
    }

    /// Writes what there is room for. Under TLS some of it may wait here: see [`Self::flush`].
    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return locked(tls).write(&self.socket, slices);
        }
        let mut space: [MaybeUninit<u8>; 0] = [];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let [slice] = slices {
            return Ok(rustix::net::send(&self.socket, slice, flags)?);
        }
        Ok(rustix::net::sendmsg(&self.socket, slices, &mut SendAncillaryBuffer::new(&mut space), flags)?)
    }

    /// Passes on what waits here. `WouldBlock` while not all of it could be.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "only TLS keeps bytes back"))]
    pub(crate) fn flush(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return locked(tls).flush(&self.socket);
        }
        Ok(())
    }

    /// Whether reading less than asked for means that no more is there yet.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "only TLS cuts the stream into records"))]
    pub(crate) fn short_means_empty(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_none();
        #[cfg(not(feature = "tls"))]
        true
    }

    /// Whether the peer has ended its side and nothing of it is left to read; nothing is taken.
    pub(crate) fn is_at_end(&self) -> bool {
        let mut byte = [0u8; 1];
        matches!(rustix::net::recv(&self.socket, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK), Ok((0, _)))
    }

    /// Ends our side, after what was written.
    pub(crate) fn end(&self) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            locked(tls).end(&self.socket);
        }
        // It fails when the connection is already broken, which is what we want.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Bytes that have not left yet, the end of the stream among them; 0 where the system does not say.
    pub(crate) fn unsent(&self) -> usize {
        // SAFETY: SIOCOUTQNSD writes one int: linux/sockios.h. (Not SIOCOUTQ: the peer's system may wait 40 ms before it says what it has.)
        let unsent = unsafe { ioctl::ioctl(&self.socket, ioctl::Getter::<SIOCOUTQNSD, c_int>::new()) };
        unsent.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0))
    }

    /// Breaks off in both directions.
    pub(crate) fn break_off(&self) {
        // As above.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Ends the handshake or says that it needs more time (`WouldBlock`).
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "only TLS shakes hands"))]
    pub(crate) fn shake_hands(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return locked(tls).shake_hands(&self.socket);
        }
        Ok(())
    }
}

#[cfg(feature = "tls")]
fn locked(tls: &std::sync::Mutex<Tls>) -> std::sync::MutexGuard<'_, Tls> {
    tls.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}
