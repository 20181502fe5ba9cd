//! A peer, as its scenario sees it: a process, or a thread where the transport stays within one.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fabric::channel::{ReceiveError, Receiver};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, Outcome};
use crate::stage::{PATIENCE, Role, Stage};

/// A peer to be started.
pub struct Casting<'a> {
    role: Role,
    uri: String,
    arguments: Vec<(String, String)>,
    program: Option<&'a Path>,
}

impl<'a> Casting<'a> {
    /// Of `role` at `uri`: a process of `program`, a thread without.
    pub(crate) fn new(role: Role, uri: &str, program: Option<&'a Path>) -> Self {
        Self { role, uri: uri.to_owned(), arguments: Vec::new(), program }
    }

    /// Adds an argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.arguments.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(self) -> Outcome<Peer> {
        match self.program {
            Some(program) => Peer::process(program, self.role, &self.uri, &self.arguments),
            None => Ok(Peer::thread(self.role, self.uri, self.arguments)),
        }
    }
}

/// A peer that runs.
pub struct Peer {
    name: &'static str,
    body: Option<Body>,
    lines: mpsc::Receiver<String>,
}

enum Body {
    Process(Child),
    Thread(JoinHandle<Outcome>, mpsc::Sender<String>),
}

impl Peer {
    fn process(program: &Path, role: Role, uri: &str, arguments: &[(String, String)]) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(["peer", role.name, uri]);
        command.args(arguments.iter().map(|(name, value)| format!("{name}={value}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().expect("it is piped");
        let (speak, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                if speak.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: role.name, body: Some(Body::Process(child)), lines })
    }

    fn thread(role: Role, uri: String, arguments: Vec<(String, String)>) -> Self {
        let (mouth, lines) = mpsc::channel();
        let (speak, ear) = mpsc::channel();
        let stage = Stage::of_thread(uri, arguments, mouth, ear);
        let thread = std::thread::spawn(move || (role.run)(&stage));
        Self { name: role.name, body: Some(Body::Thread(thread, speak)), lines }
    }

    /// Its next line; after its end, those that it said before.
    ///
    /// # Errors
    /// When none comes.
    pub fn hear(&mut self) -> Outcome<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => Err(Failure::new(format!("peer {} says nothing", self.name))),
        }
    }

    /// Its next line must be this one.
    ///
    /// # Errors
    /// When it is not.
    pub fn expect(&mut self, expected: &str) -> Outcome {
        let line = self.hear()?;
        ensure!(line == expected, "peer {} says {line:?} instead of {expected:?}", self.name);
        Ok(())
    }

    /// Its next line must be this one; meanwhile the receiver looks for messages and finds none, so that the peer learns what was read.
    ///
    /// # Errors
    /// When another line or a message comes, or nothing.
    pub fn expect_while_idle(&mut self, expected: &str, receiver: &mut Receiver) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match receiver.receive(Duration::from_millis(2).into()) {
                Err(ReceiveError::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(received) => {
                    return Err(Failure::new(format!(
                        "a message of {} bytes comes after the last",
                        received.payload_bytes()
                    )));
                }
            }
            if let Ok(line) = self.lines.try_recv() {
                ensure!(line == expected, "peer {} says {line:?} instead of {expected:?}", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "peer {} says nothing", self.name);
        }
    }

    /// The numbers in its next line, behind `word`.
    ///
    /// # Errors
    /// When it says something else.
    pub fn hear_numbers(&mut self, word: &str) -> Outcome<Vec<u64>> {
        let line = self.hear()?;
        let mut words = line.split_whitespace();
        let numbers: Vec<u64> = match words.next() {
            Some(first) if first == word => words.filter_map(|word| word.parse().ok()).collect(),
            _ => return Err(Failure::new(format!("peer {} says {line:?} instead of {word}", self.name))),
        };
        Ok(numbers)
    }

    /// All lines until its end, or as far as it was heard after a kill.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect()
    }

    /// The lines that have come so far.
    pub fn so_far(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn say(&mut self, line: &str) -> Outcome {
        match &mut self.body {
            Some(Body::Process(child)) => {
                let input = child.stdin.as_mut().expect("it is piped and never taken");
                Ok(writeln!(input, "{line}")?)
            }
            Some(Body::Thread(_, speak)) => {
                speak.send(line.to_owned()).map_err(|_| Failure::new(format!("peer {} is gone", self.name)))
            }
            None => Err(Failure::new(format!("peer {} was ended", self.name))),
        }
    }

    /// Its process number.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Some(Body::Process(child)) => Some(child.id()),
            _ => None,
        }
    }

    /// Kills it with SIGKILL and returns the moment of it, once it is gone.
    ///
    /// # Errors
    /// When it is no process, or is gone already.
    pub fn kill(&mut self) -> Outcome<Instant> {
        let Some(Body::Process(mut child)) = self.body.take() else {
            return Err(Failure::new(format!("peer {} is no process that could be killed", self.name)));
        };
        if let Some(status) = child.try_wait()? {
            return Err(Failure::new(format!("peer {} ended by itself: {status}", self.name)));
        }
        let moment = Instant::now();
        child.kill()?;
        child.wait()?;
        Ok(moment)
    }

    /// Stops it where it is, until [`Self::thaw`].
    ///
    /// # Errors
    /// When it is no process.
    pub fn freeze(&self) -> Outcome {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is no process.
    pub fn thaw(&self) -> Outcome {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Outcome {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or_else(|| Failure::new(format!("peer {} is no process", self.name)))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it has ended by itself, well.
    ///
    /// # Errors
    /// When it ended with a failure, or not at all.
    pub fn finish(mut self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        match self.body.take() {
            Some(Body::Process(mut child)) => loop {
                if let Some(status) = child.try_wait()? {
                    ensure!(status.success(), "peer {} ended with {status}", self.name);
                    return Ok(());
                }
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    return Err(Failure::new(format!("peer {} does not end", self.name)));
                }
                std::thread::sleep(Duration::from_millis(1));
            },
            Some(Body::Thread(thread, _speak)) => {
                while !thread.is_finished() {
                    ensure!(Instant::now() < deadline, "peer {} does not end", self.name);
                    std::thread::sleep(Duration::from_millis(1));
                }
                thread.join().map_err(|_| Failure::new(format!("peer {} panicked", self.name)))?
            }
            None => Ok(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(Body::Process(child)) = &mut self.body {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
