//! The server's end: accepts operators on one event loop and asks the composition for answers.

use crate::Answer;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Longest request, octets.
const REQUEST_MAX: u64 = 64 * 1024;
/// Operators at once.
const SESSIONS_MAX: usize = 16;
/// A connection without a request for so long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// Who asks, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The process, if it can be told.
    pub pid: Option<i32>,
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "uid={}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
    }
}

/// Answers commands.
pub trait Commands: 'static {
    /// The answer to the command with these words; at least one.
    fn answer(&self, words: Vec<String>, caller: Caller) -> impl Future<Output = Answer>;
}

/// A socket on which operators are heard; they may connect from now on.
pub struct Socket(UnixListener);

/// Serves operators until the future is dropped. Must run inside a local task set.
pub async fn serve(socket: Socket, commands: Rc<impl Commands>) {
    let Socket(listener) = socket;
    let seats = std::sync::Arc::new(Semaphore::new(SESSIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                tokio::task::spawn_local(async move {
                    let _seat = seat;
                    // Whatever the peer did wrong ends its own connection only.
                    let _ = session(stream, &*commands).await;
                });
            }
            // Out of descriptors, most likely: the next operator will come.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

impl Socket {
    /// Binds the socket at `path`, on an event loop. A left-over socket is replaced; one that a running server answers is
    /// not.
    ///
    /// # Errors
    /// The socket could not be bound.
    pub fn bind(path: &Path) -> io::Result<Self> {
        bind(path).map(Self)
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers on this socket"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn session(stream: UnixStream, commands: &impl Commands) -> io::Result<()> {
    let caller = stream.peer_cred().map(|peer| Caller { uid: peer.uid(), pid: peer.pid() })?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(REQUEST_MAX);
        let read = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return Ok(());
        }
        let words = serde_json::from_slice::<Vec<String>>(&line).ok().filter(|words| !words.is_empty());
        let (answer, go_on) = match words {
            Some(words) => (commands.answer(words, caller).await, true),
            None => (Answer::refused("a request is one line with a JSON array of words"), false),
        };
        let mut reply = serde_json::to_vec(&answer)?;
        reply.push(b'\n');
        writer.write_all(&reply).await?;
        if !go_on {
            return Ok(());
        }
    }
}
