//! A transport to be tried: its scheme, and which of several providers.

use std::fmt;
use std::str::FromStr;

use fabric::Uri;
use fabric::tli::{Capabilities, provider};

use crate::failure::{Failure, Outcome};

/// What a scenario needs of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing but a transport.
    Nothing,
    /// Peers in processes of their own.
    Processes,
    /// Windows lent by reference.
    SharedMemory,
    /// Both of them.
    SharedMemoryOfProcesses,
}

/// A transport: `ipc`, or `tcp?via=epoll` where a scheme has several providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    name: String,
    options: Option<String>,
}

impl Scheme {
    /// The scheme of its addresses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `?via=…`, or nothing.
    pub(crate) fn options(&self) -> String {
        self.options.as_ref().map_or_else(String::new, |options| format!("?{options}"))
    }

    /// Whether its peers are processes of their own.
    pub fn joins_processes(&self) -> bool {
        self.name != "inproc"
    }

    /// What its provider says that it can do.
    ///
    /// # Errors
    /// When there is no provider, or the machine lacks something that it needs.
    pub fn capabilities(&self) -> Outcome<Capabilities> {
        let place = match self.name.as_str() {
            "inproc" | "ipc" => "x".to_owned(),
            "vsock" => "//1:1".to_owned(),
            _ => "//127.0.0.1:1".to_owned(),
        };
        let uri = Uri::parse(&format!("{}:{place}{}", self.name, self.options()))?;
        Ok(provider(&uri)?.capabilities(&uri))
    }

    /// Whether it has what a scenario needs.
    ///
    /// # Errors
    /// As [`Self::capabilities`].
    pub fn has(&self, need: Need) -> Outcome<bool> {
        let shares_memory = self.capabilities()?.shares_memory;
        Ok(match need {
            Need::Nothing => true,
            Need::Processes => self.joins_processes(),
            Need::SharedMemory => shares_memory,
            Need::SharedMemoryOfProcesses => shares_memory && self.joins_processes(),
        })
    }
}

impl FromStr for Scheme {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (name, options) = match text.split_once('?') {
            Some((name, options)) => (name, Some(options.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name.contains(':') {
            return Err(Failure::new(format!("{text:?} is not a scheme, as in ipc or tcp?via=epoll")));
        }
        Ok(Self { name: name.to_owned(), options })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.options())
    }
}
