//! The service manager: what systemd is told, and the sockets it hands over.
//!
//! The notification protocol is one datagram of `KEY=value` lines to the socket in `NOTIFY_SOCKET` (sd_notify(3)); socket
//! activation is descriptors from 3 upwards, counted and named by `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)).
//! Without a service manager everything here does nothing.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt, io,
    net::TcpListener,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    time::Duration,
};

use rustix::{
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    net::{AddressFamily, SocketType, sockopt},
};

/// The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
const LISTEN_FDS_START: RawFd = 3;
/// More descriptors than this are a mistake in the environment.
const LISTEN_FDS_MAX: RawFd = 1024;

/// One thing to tell the service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Start-up, or a reload, is complete.
    Ready,
    /// The configuration is being read again; followed by `Ready`.
    Reloading,
    /// Shutdown has begun.
    Stopping,
    /// One line for `systemctl status`.
    Status(&'a str),
    /// The server is alive; due at least every [`Notifier::watchdog_interval`].
    Watchdog,
}

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    target: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is no address, or there is no socket to send from.
    pub fn from_env() -> io::Result<Notifier> {
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros);
        match env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Notifier::to(&name, watchdog),
            None => Ok(Notifier { target: None, watchdog: None }),
        }
    }

    /// To a socket by its path, or by its abstract name after `@`.
    ///
    /// # Errors
    /// As [`Notifier::from_env`].
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Notifier> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(Notifier { target: Some((UnixDatagram::unbound()?, address)), watchdog })
    }

    /// Whether anybody listens.
    pub fn is_active(&self) -> bool {
        self.target.is_some()
    }

    /// How often to send [`Notice::Watchdog`]: half of the time after which the service manager would restart us.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Sends all of `notices` in one datagram; does nothing without a service manager.
    ///
    /// # Errors
    /// Those of `sendto`. The server goes on without.
    pub fn notify(&self, notices: &[Notice<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.target else { return Ok(()) };
        let mut text = String::new();
        for notice in notices {
            notice.write_to(&mut text);
        }
        socket.send_to_addr(text.as_bytes(), address).map(|_| ())
    }
}

impl Notice<'_> {
    fn write_to(self, text: &mut String) {
        match self {
            Notice::Ready => text.push_str("READY=1\n"),
            Notice::Reloading => {
                // systemd (Type=notify-reload) wants to know when the reload began, on its own clock.
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
                text.push_str(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
            }
            Notice::Stopping => text.push_str("STOPPING=1\n"),
            Notice::Status(status) => {
                text.push_str("STATUS=");
                // A line break would begin another assignment.
                text.extend(status.chars().map(|c| if c.is_control() { ' ' } else { c }));
                text.push('\n');
            }
            Notice::Watchdog => text.push_str("WATCHDOG=1\n"),
        }
    }
}

/// A socket that the service manager opened for us.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of the socket unit; `unknown` if it has none.
    pub name: String,
    /// The socket.
    pub socket: InheritedSocket,
}

/// What kind of socket it is.
#[derive(Debug)]
pub enum InheritedSocket {
    /// A listening TCP socket.
    Tcp(TcpListener),
    /// A listening Unix socket.
    Unix(UnixListener),
    /// Something that we do not listen on.
    Other(OwnedFd),
}

/// The environment promises sockets that are not there.
#[derive(Debug)]
pub enum InheritError {
    /// `LISTEN_FDS` is not a number from 0 to 1024.
    Count {
        /// What it says.
        text: OsString,
    },
    /// A descriptor that was promised is not open.
    Closed {
        /// Which one.
        descriptor: RawFd,
        /// What the operating system said.
        source: io::Error,
    },
    /// A descriptor is in use by this program: the sockets were taken before.
    Taken {
        /// Which one.
        descriptor: RawFd,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritError::Count { text } => write!(f, "LISTEN_FDS={} is not a count of sockets", text.display()),
            InheritError::Closed { descriptor, .. } => write!(f, "inherited descriptor {descriptor} is not open"),
            InheritError::Taken { descriptor } => write!(f, "inherited descriptor {descriptor} was taken before"),
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InheritError::Closed { source, .. } => Some(source),
            InheritError::Count { .. } | InheritError::Taken { .. } => None,
        }
    }
}

/// Takes the sockets that the service manager has opened for this very process; none if it has not. Call it once, at
/// the start of `main`, before anything opens descriptors.
///
/// # Errors
/// See [`InheritError`].
pub fn inherited_sockets() -> Result<Vec<Inherited>, InheritError> {
    let ours = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    let Some(count) = env::var_os("LISTEN_FDS").filter(|_| ours) else { return Ok(Vec::new()) };
    let parsed = count.to_str().and_then(|text| text.parse().ok()).filter(|count| (0..=LISTEN_FDS_MAX).contains(count));
    let Some(count) = parsed else { return Err(InheritError::Count { text: count }) };
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').filter(|name| !name.is_empty()).map(Some).chain(std::iter::repeat(None));
    (LISTEN_FDS_START..LISTEN_FDS_START + count)
        .zip(names)
        .map(|(descriptor, name)| {
            let socket = classify(take_descriptor(descriptor)?);
            Ok(Inherited { name: name.unwrap_or("unknown").to_owned(), socket })
        })
        .collect()
}

/// Takes ownership of a descriptor that this process inherited and nobody in it owns.
fn take_descriptor(descriptor: RawFd) -> Result<OwnedFd, InheritError> {
    // SAFETY: `descriptor` is not -1, and the borrow is used for this one `fcntl` only, which is defined for a number
    // that is not open (EBADF); nothing can close it meanwhile, because nobody in this process owns it (see below).
    let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(descriptor) })
        .map_err(|error| InheritError::Closed { descriptor, source: error.into() })?;
    // Everything that Rust's library opens, and everything taken here, is close-on-exec; what came through exec is not.
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(InheritError::Taken { descriptor });
    }
    // SAFETY: the descriptor is open (F_GETFD succeeded) and has no owner: by the protocol of sd_listen_fds(3) the
    // service manager passed it to this process alone (LISTEN_PID was compared), and it is not close-on-exec, which
    // everything with an owner in this process is. The next line marks it, so that it cannot be taken again.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC).map_err(|error| InheritError::Closed { descriptor, source: error.into() })?;
    Ok(owned)
}

fn classify(socket: OwnedFd) -> InheritedSocket {
    let listens = sockopt::socket_acceptconn(&socket).unwrap_or(false);
    let streams = sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    match sockopt::socket_domain(&socket) {
        Ok(AddressFamily::INET | AddressFamily::INET6) if listens && streams => {
            // As our own listeners: what is accepted inherits it. A socket that refuses still serves, only slower.
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            InheritedSocket::Tcp(socket.into())
        }
        Ok(AddressFamily::UNIX) if listens && streams => InheritedSocket::Unix(socket.into()),
        _ => InheritedSocket::Other(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0u8; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn notices_arrive_at_a_path_in_one_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), Some(Duration::from_secs(10))).unwrap();
        notifier.notify(&[Notice::Ready, Notice::Status("serving\nREADY=0"), Notice::Watchdog]).unwrap();
        assert_eq!(receive(&manager), "READY=1\nSTATUS=serving READY=0\nWATCHDOG=1\n");
        notifier.notify(&[Notice::Reloading]).unwrap();
        let reloading = receive(&manager);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse::<u64>();
        assert!(micros.unwrap() > 0);
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn notices_arrive_at_an_abstract_name() {
        let name = format!("engine-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}")), None).unwrap();
        notifier.notify(&[Notice::Stopping]).unwrap();
        assert_eq!(receive(&manager), "STOPPING=1\n");
        drop(manager);
        assert!(notifier.notify(&[Notice::Watchdog]).is_err());
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        let silent = Notifier { target: None, watchdog: None };
        assert!(!silent.is_active() && silent.watchdog_interval().is_none());
        silent.notify(&[Notice::Ready]).unwrap();
    }

    #[test]
    fn a_descriptor_with_an_owner_is_not_taken() {
        use std::os::fd::AsRawFd;
        let owned = TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptor = owned.as_raw_fd();
        assert!(matches!(take_descriptor(descriptor), Err(InheritError::Taken { .. })));
        assert!(matches!(take_descriptor(900_000), Err(InheritError::Closed { .. })));
    }
}
