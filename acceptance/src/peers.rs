//! Programs of other mail servers, which `cargo xtask test` installs or unpacks.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A program of an unpacked Debian package: `peer_program("postfix", "usr/sbin/smtp-sink")`.
///
/// # Panics
/// If `cargo xtask test` has not unpacked it.
pub fn peer_program(package: &str, program: &str) -> PathBuf {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers"));
    let folder = std::env::var_os("POSTHASTE_PEERS").map_or(own, PathBuf::from);
    let path = folder.join(package).join(program);
    assert!(path.exists(), "{program} of the Debian package {package} is missing: run `cargo xtask test` as root");
    path
}

/// A command of Postfix, with its own libraries.
pub fn postfix(program: &str) -> Command {
    let mut command = Command::new(peer_program("postfix", program));
    command.env("LD_LIBRARY_PATH", peer_program("postfix", "usr/lib/postfix"));
    command
}

/// Postfix's load generator with these arguments; must succeed.
pub fn smtp_source(args: &[&str]) {
    let output = postfix("usr/sbin/smtp-source").args(args).output().expect("smtp-source starts");
    assert!(output.status.success(), "smtp-source: {}", String::from_utf8_lossy(&output.stderr));
}

/// A child that is ended when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command-line client swaks.
pub struct Swaks;

impl Swaks {
    /// Runs it against a port on loopback.
    ///
    /// # Panics
    /// If the Debian package swaks is missing.
    pub fn run(port: u16, args: &[&str]) -> Output {
        let port = port.to_string();
        let mut command = Command::new("swaks");
        command.args(["--server", "127.0.0.1", "--port", &port]).args(args).stdin(Stdio::null());
        command.output().expect("the Debian package swaks is installed: run `cargo xtask test` as root")
    }
}
