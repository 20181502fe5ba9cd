//! What stands behind `ipc:`: a name, a path, or the number of an inherited socket. And the socket file of a listener.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::tli::OpenError;
use crate::uri::{Uri, UriError};

/// Peers that wait to be let in, at most; further ones try again.
const BACKLOG: i32 = 128;
/// How long a listener waits, at most, while others bind in the same directory. Each takes some fifty microseconds.
const LOCK_MAX: Duration = Duration::from_secs(1);

/// Where the peers meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Path(PathBuf),
    Inherited(i32),
}

impl Place {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, UriError> {
        uri.only_options(&["dir"])?;
        let address = uri.address();
        if let Some(number) = address.strip_prefix("fd/") {
            let number = number.parse().ok().filter(|number| *number >= 0);
            return number
                .map(Self::Inherited)
                .ok_or_else(|| uri.wrong(address, "the number of a descriptor behind fd/"));
        }
        if address.contains('\0') {
            return Err(uri.wrong("a zero byte", "a name without"));
        }
        let path = if address.starts_with('/') {
            PathBuf::from(address)
        } else {
            if address.contains('/') || address.starts_with('.') {
                return Err(
                    uri.wrong(address, "a name without slashes and without a dot in front, /path.sock, or fd/NUMBER")
                );
            }
            let dir = uri.option("dir").map_or_else(default_dir, PathBuf::from);
            dir.join(format!("{address}.sock"))
        };
        if SocketAddrUnix::new(&path).is_err() {
            return Err(uri.wrong(path.display().to_string(), "a path of at most 107 bytes"));
        }
        Ok(Self::Path(path))
    }
}

/// Where names lie: a directory that only this user can enter.
pub(crate) fn default_dir() -> PathBuf {
    let own = rustix::process::geteuid();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return dir.join("fabric");
    }
    if own.is_root() {
        return PathBuf::from("/run/fabric");
    }
    let run = PathBuf::from(format!("/run/user/{own}", own = own.as_raw()));
    if run.is_dir() { run.join("fabric") } else { PathBuf::from(format!("/tmp/fabric-{own}", own = own.as_raw())) }
}

/// A socket of the only kind used here.
pub(crate) fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Goes to whoever listens at `path`.
pub(crate) fn dial(path: &Path) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// A listening socket and its file, which is removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: OwnedFd,
    path: PathBuf,
    place: (u64, u64),
}

impl Bound {
    /// Listens at `path`. A file left by a dead listener is replaced; that nobody else does so at the same time, a lock on the directory sees to,
    /// which leaves no file behind. `mode` is that of the socket file.
    pub(crate) fn bind(uri: &Uri, path: &Path, mode: u32) -> Result<Self, OpenError> {
        let failed = |operation| move |source| OpenError::System { uri: uri.to_string(), operation, source };
        let dir = path.parent().unwrap_or(Path::new("/"));
        own_directory(uri, dir)?;
        let _lock = lock(dir).map_err(failed("lock the directory"))?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at the socket file")(error)),
            Ok(found) if found.file_type().is_socket() => match dial(path).map_err(|error| error.raw_os_error()) {
                Err(Some(code)) if code == Errno::CONNREFUSED.raw_os_error() => {
                    fs::remove_file(path).map_err(failed("remove the socket file of a dead listener"))?;
                }
                _ => return Err(OpenError::Taken { uri: uri.to_string() }),
            },
            Ok(_) => return Err(OpenError::Taken { uri: uri.to_string() }),
        }
        let socket = new_socket().map_err(failed("socket"))?;
        let address = SocketAddrUnix::new(path).map_err(|error| failed("bind")(error.into()))?;
        rustix::net::bind(&socket, &address).map_err(|error| failed("bind")(error.into()))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("look at the socket file"))?;
        let bound = Self { socket, path: path.to_owned(), place: (metadata.dev(), metadata.ino()) };
        // Until it listens, nobody gets in, whatever the mode.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod"))?;
        rustix::net::listen(&bound.socket, BACKLOG).map_err(|error| failed("listen")(error.into()))?;
        Ok(bound)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The socket still listens here, so nobody takes the file for a dead one's and replaces it between the look and the removal.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.place);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory if it is not there. One that others may write is refused for the default place; a path given is its giver's choice.
fn own_directory(uri: &Uri, dir: &Path) -> Result<(), OpenError> {
    let failed = |operation| move |source| OpenError::System { uri: uri.to_string(), operation, source };
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make the directory")(error)),
        _ => {}
    }
    if dir != default_dir() {
        return Ok(());
    }
    let found = fs::symlink_metadata(dir).map_err(failed("look at the directory"))?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() || (found.uid() != own && found.uid() != 0) || found.mode() & 0o022 != 0 {
        let why = format!("{} is not a directory of user {own} alone", dir.display());
        return Err(OpenError::Refused { uri: uri.to_string(), why });
    }
    Ok(())
}

/// The lock lasts as long as the descriptor.
fn lock(dir: &Path) -> io::Result<OwnedFd> {
    let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let deadline = Instant::now() + LOCK_MAX;
    loop {
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(dir),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(uri: &str) -> Result<Place, UriError> {
        Place::parse(&Uri::parse(uri).expect("right in form"))
    }

    #[test]
    fn a_name_a_path_and_a_number_are_told_apart() {
        assert_eq!(place("ipc:x?dir=/d"), Ok(Place::Path("/d/x.sock".into())));
        assert_eq!(place("ipc:/d/y"), Ok(Place::Path("/d/y".into())));
        assert_eq!(place("ipc:///d/y"), Ok(Place::Path("/d/y".into())));
        assert_eq!(place("ipc:fd/3"), Ok(Place::Inherited(3)));
        assert_eq!(place("ipc:x"), Ok(Place::Path(default_dir().join("x.sock"))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (uri, part) in [
            ("ipc:a/b", "a/b"),
            ("ipc:..", ".."),
            ("ipc:fd/x", "fd/x"),
            ("ipc:fd/-1", "fd/-1"),
            ("ipc:x?colour=red", "colour"),
        ] {
            assert_eq!(place(uri).expect_err("it is wrong").part, part);
        }
        let long = format!("ipc:/{}", "x".repeat(120));
        assert!(place(&long).expect_err("too long").to_string().contains("107"));
    }
}
