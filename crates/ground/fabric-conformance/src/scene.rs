//! What a scenario has: fresh addresses, peers, a seed, and how often to repeat.

use std::cell::Cell;
use std::fmt::Display;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fabric::channel::{Channel, ChannelBuilder};
use tempfile::TempDir;

use crate::failure::{Failure, Outcome};
use crate::peer::Casting;
use crate::scheme::Scheme;
use crate::stage::Role;

/// How long to wait for what must come: far longer than it takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Where a scenario plays.
pub struct Scene {
    scheme: Scheme,
    program: PathBuf,
    rounds: Option<u32>,
    seed: u64,
    folder: TempDir,
    addresses: Cell<u32>,
}

impl Scene {
    /// For transport `scheme`; peers are processes of `program`.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub fn new(scheme: Scheme, program: PathBuf, rounds: Option<u32>, seed: u64) -> Outcome<Self> {
        let folder = TempDir::with_prefix("fabric-")?;
        Ok(Self { scheme, program, rounds, seed, folder, addresses: Cell::new(0) })
    }

    /// The transport.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// How often to repeat what is tried at random: `usually`, unless it was set.
    pub fn rounds(&self, usually: u32) -> u32 {
        self.rounds.unwrap_or(usually)
    }

    /// Where random numbers begin.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// An address that nobody else uses. (All of 127.0.0.0/8 is this machine, so that each process has addresses of its own.)
    pub fn uri(&self) -> String {
        let mut number = self.addresses.get();
        let (pid, scheme) = (std::process::id(), self.scheme.name());
        let host = format!("127.{}.{}.{}", 1 + (pid >> 14) % 250, (pid >> 7) & 127, 1 + (pid & 127));
        // A server that listens at all addresses of this machine has its port here, too.
        while scheme == "tcp" && TcpListener::bind(format!("{host}:{}", 2000 + number)).is_err() {
            number += 1;
        }
        self.addresses.set(number + 1);
        let port = 2000 + number;
        let place = match scheme {
            "inproc" => format!("conformance-{pid}-{number}"),
            "ipc" => format!("{}/{number}.sock", self.folder.path().display()),
            "tcp" => format!("//{host}:{port}"),
            "vsock" => format!("//1:{}", (pid % 100_000) * 20_000 + port),
            // Below the ports that the system gives out by itself.
            _ => format!("//127.0.0.1:{}", 2000 + (pid % 15) * 2000 + number),
        };
        format!("{scheme}:{place}{}", self.scheme.options())
    }

    /// A channel that listens at `uri`.
    pub fn builder(&self, uri: &str) -> ChannelBuilder {
        Channel::builder().name(format!("scene at {uri}")).listen(uri)
    }

    /// A peer of `role` at `uri`.
    pub fn peer(&self, role: Role, uri: &str) -> Casting<'_> {
        let program = self.scheme.joins_processes().then_some(self.program.as_path());
        Casting::new(role, uri, program).with("seed", self.seed)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Says something that was measured.
    pub fn note(&self, what: impl Display) {
        println!("  {what}");
    }

    /// Nothing is left in the file system.
    ///
    /// # Errors
    /// Names what is.
    pub fn check_folder(&self) -> Outcome {
        let left: Vec<String> = std::fs::read_dir(self.folder.path())?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(Failure::new(format!("files are left: {}", left.join(", ")))) }
    }
}
