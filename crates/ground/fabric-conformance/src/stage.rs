//! What a peer has: its address, its arguments, and lines to and from the scenario that started it.
//!
//! In a process of its own these are command line, standard input and output; in a thread, two channels. A peer whose scenario is gone ends.

use std::fmt::Display;
use std::io::{BufRead as _, Write as _};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::Duration;

use fabric::channel::{Channel, ChannelBuilder};

use crate::failure::{Failure, Outcome};

/// How long a peer waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a peer does.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Stage) -> Outcome,
}

/// Where lines go.
enum Mouth {
    Output,
    Thread(mpsc::Sender<String>),
}

/// A peer's side of its conversation with the scenario.
pub struct Stage {
    uri: String,
    arguments: Vec<(String, String)>,
    mouth: Mouth,
    ear: mpsc::Receiver<String>,
}

impl Stage {
    /// Of a peer in a thread.
    pub(crate) fn of_thread(
        uri: String,
        arguments: Vec<(String, String)>,
        mouth: mpsc::Sender<String>,
        ear: mpsc::Receiver<String>,
    ) -> Self {
        Self { uri, arguments, mouth: Mouth::Thread(mouth), ear }
    }

    /// Of a peer in a process: it ends when its standard input does.
    ///
    /// # Errors
    /// When an argument is not `name=value`.
    pub fn of_process(uri: String, arguments: &[String]) -> Outcome<Self> {
        let pair = |text: &String| {
            let (name, value) =
                text.split_once('=').ok_or_else(|| Failure::new(format!("{text:?} is not name=value")))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let arguments = arguments.iter().map(pair).collect::<Outcome<_>>()?;
        let (speak, ear) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if speak.send(line).is_err() {
                    break;
                }
            }
            // The scenario is gone.
            std::process::exit(3);
        });
        Ok(Self { uri, arguments, mouth: Mouth::Output, ear })
    }

    /// Its address.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The channel that the scenario asks for: address, side, trust, windows.
    ///
    /// # Errors
    /// When an argument is wrong.
    pub fn builder(&self) -> Outcome<ChannelBuilder> {
        self.builder_at(&self.uri)
    }

    /// As [`Self::builder`], at another address.
    ///
    /// # Errors
    /// When an argument is wrong.
    pub fn builder_at(&self, uri: &str) -> Outcome<ChannelBuilder> {
        let side = self.argument_or("side", "connect".to_owned())?;
        let builder = Channel::builder().name(format!("peer at {uri}"));
        let builder = if side == "listen" { builder.listen(uri) } else { builder.connect(uri) };
        let builder = match self.argument_or("trust", String::new())?.as_str() {
            "same" => builder.trust(fabric::tli::Trust::Same),
            _ => builder,
        };
        Ok(match self.argument_or("window", 0)? {
            0 => builder,
            bytes => builder.windows(bytes, self.argument_or("windows", 16)?),
        })
    }

    /// An argument that must be there.
    ///
    /// # Errors
    /// When it is not, or is of another form.
    pub fn argument<T: FromStr>(&self, name: &str) -> Outcome<T> {
        let (_, value) = self
            .arguments
            .iter()
            .find(|(found, _)| found == name)
            .ok_or_else(|| Failure::new(format!("the role needs {name}=")))?;
        value.parse().map_err(|_| Failure::new(format!("{name}={value} is of another form")))
    }

    /// An argument that may be left out.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn argument_or<T: FromStr>(&self, name: &str, otherwise: T) -> Outcome<T> {
        if self.arguments.iter().any(|(found, _)| found == name) { self.argument(name) } else { Ok(otherwise) }
    }

    /// Says a line.
    pub fn say(&self, line: impl Display) {
        match &self.mouth {
            Mouth::Output => {
                // Who no longer listens will end us.
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
            Mouth::Thread(mouth) => {
                let _ = mouth.send(line.to_string());
            }
        }
    }

    /// The next line of the scenario.
    ///
    /// # Errors
    /// When it does not come, or is another than `expected`.
    pub fn await_line(&self, expected: &str) -> Outcome {
        match self.ear.recv_timeout(PATIENCE) {
            Ok(line) if line == expected => Ok(()),
            Ok(line) => Err(Failure::new(format!("told {line:?} instead of {expected:?}"))),
            Err(_) => Err(Failure::new(format!("waited for {expected:?} in vain"))),
        }
    }

    /// Whether the scenario has said something; takes it.
    pub fn was_told(&self) -> bool {
        self.ear.try_recv().is_ok()
    }
}
