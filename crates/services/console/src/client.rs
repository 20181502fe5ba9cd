//! The operator's end: a question, an answer, blocking.

use crate::Answer;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why no answer came.
#[derive(Debug)]
pub enum AskError {
    /// No server listens there.
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server hung up or sent something else than an answer.
    Broken(io::Error),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning { socket, .. } => {
                write!(
                    f,
                    "no server answers on {}: start one with `posthaste run`, or name its socket",
                    socket.display()
                )
            }
            Self::Broken(_) => f.write_str("the server did not answer"),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotRunning { source, .. } | Self::Broken(source) => Some(source),
        }
    }
}

/// A connection to a server, for one question after the other.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; each answer may take `timeout`.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, AskError> {
        let not_running = |source| AskError::NotRunning { socket: socket.into(), source };
        let stream = UnixStream::connect(socket).map_err(not_running)?;
        stream.set_read_timeout(Some(timeout)).map_err(AskError::Broken)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&mut self, words: &[String]) -> Result<Answer, AskError> {
        let mut request = serde_json::to_vec(words).map_err(|error| AskError::Broken(error.into()))?;
        request.push(b'\n');
        self.stream.get_mut().write_all(&request).map_err(AskError::Broken)?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(AskError::Broken)?;
        serde_json::from_str(&line).map_err(|error| AskError::Broken(error.into()))
    }
}

/// Sends a command and waits for its answer, at most `timeout`.
///
/// # Errors
/// See [`AskError`].
pub fn ask(socket: &Path, words: &[String], timeout: Duration) -> Result<Answer, AskError> {
    Client::connect(socket, timeout)?.ask(words)
}
