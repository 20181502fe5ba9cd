//! The other end of a measurement: a process of this program, or a thread where the address does not leave the process.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use fabric::tli::Providers;

use super::report::Side;
use super::{Mode, Role, run};
use crate::cli::PerfArgs;
use crate::failure::Failure;

/// Schemes whose channels end where the process does.
const WITHIN_A_PROCESS: &str = "inproc:";

pub(super) enum Peer {
    Thread(JoinHandle<Result<Side, Failure>>),
    Process(Started),
}

/// A child that is ended with this value, if it has not ended before.
pub(super) struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Peer {
    pub(super) fn start(providers: &Providers, args: &PerfArgs, mode: Mode, role: Role) -> Result<Self, Failure> {
        if args.uri.starts_with(WITHIN_A_PROCESS) {
            let (providers, args) = (providers.clone(), args.clone());
            return Ok(Self::Thread(thread::spawn(move || run(&providers, &args, mode, role))));
        }
        let program = std::env::current_exe().map_err(|error| Failure::caused("finding this program", &error))?;
        let side = if role == Role::Listen { "--listen" } else { "--connect" };
        let child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .args([side, "--started"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::caused("starting the peer", &error))?;
        Ok(Self::Process(Started(child)))
    }

    /// What the peer has measured of itself.
    pub(super) fn finish(self) -> Result<Side, Failure> {
        match self {
            Self::Thread(thread) => thread.join().map_err(|_| Failure::new("the peer's thread has panicked"))?,
            Self::Process(mut started) => {
                let mut text = String::new();
                let out = started.0.stdout.as_mut().expect("it was piped");
                out.read_to_string(&mut text).map_err(|error| Failure::caused("the peer's report", &error))?;
                let status = started.0.wait().map_err(|error| Failure::caused("the peer", &error))?;
                if !status.success() {
                    return Err(Failure::new(format!("the peer has failed: {status}")));
                }
                Side::parse(&text).ok_or_else(|| Failure::new("the peer has not reported"))
            }
        }
    }
}
