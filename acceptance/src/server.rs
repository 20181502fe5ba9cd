//! The server under test: a folder of its own, a configuration, a process.

use crate::{Client, free_port};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A place for one server: its folders and its configuration, which outlive the process.
pub struct Site {
    folder: tempfile::TempDir,
    /// The SMTP listener's port.
    pub port: u16,
    server: String,
    listener: String,
    extra: String,
}

impl Site {
    /// A site whose listener `mx` takes mail for everywhere from loopback; `extra` is more TOML, with `[domain…]`.
    pub fn new(extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            folder,
            port: free_port(),
            server: String::new(),
            listener: "relay_from = [\"127.0.0.0/8\"]\n".into(),
            extra: extra.into(),
        }
    }

    /// Replaces the lines of `[listener.mx]` other than protocol and bind.
    #[must_use]
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener = lines.into();
        self
    }

    /// Adds lines to `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        self.server = lines.into();
        self
    }

    /// Replaces what [`Site::new`] was given; the next start or reload sees it.
    pub fn set_extra(&mut self, extra: &str) {
        self.extra = extra.into();
        self.write();
    }

    /// The folder of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration's file.
    pub fn config(&self) -> PathBuf {
        self.path("posthaste.toml")
    }

    /// A log's text so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("log").join(name)).unwrap_or_default()
    }

    /// The rows of a kind in the main log so far: `R`, `D`, `T`, `P`, …
    pub fn rows(&self, kind: &str) -> Vec<String> {
        let log = self.log("mainlog.ec");
        log.lines().filter(|row| row.split('@').nth(4) == Some(kind)).map(str::to_owned).collect()
    }

    fn write(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let mut text = String::new();
        let (data, log, run) = (at("spool"), at("log"), at("run"));
        let _ = write!(
            text,
            "[server]\nhostname = \"mx.accept.test\"\ndata_dir = \"{data}\"\nlog_dir = \"{log}\"\nrun_dir = \"{run}\"\n{}\n\
             [listener.mx]\nprotocol = \"smtp\"\nbind = [\"127.0.0.1:{}\"]\n{}\n",
            self.server, self.port, self.listener
        );
        if !self.extra.contains("[log.") {
            text.push_str("[log.main]\nformat = \"ec\"\npath = \"mainlog.ec\"\n\n");
        }
        text.push_str(&self.extra);
        std::fs::write(self.config(), text).expect("the site's folder is writable");
    }

    /// Runs a command line of the binary to its end.
    pub fn tool(&self, args: &[&str]) -> Output {
        self.write();
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null()).current_dir(self.folder.path());
        command.output().expect("the binary starts")
    }

    /// Runs a command line of the binary and returns what it printed; it must succeed.
    pub fn tool_ok(&self, args: &[&str]) -> String {
        let output = self.tool(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Starts the server and waits for its `ready`.
    pub fn start(&self) -> Server {
        self.start_with(|_| {})
    }

    /// As [`Site::start`], with a last word on how the process is started.
    pub fn start_with(&self, adjust: impl FnOnce(&mut Command)) -> Server {
        self.write();
        let mut command = Command::new(binary());
        let errors = std::fs::File::create(self.path("stderr")).expect("the site's folder is writable");
        command.args(["run", "--config"]).arg(self.config()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        adjust(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let began = Instant::now();
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            let n = lines.read_line(&mut line).unwrap_or(0);
            let errors = || std::fs::read_to_string(self.path("stderr")).unwrap_or_default();
            assert!(n > 0, "the server ended before it was ready: {}", errors());
            assert!(began.elapsed() < Duration::from_secs(60), "the server was not ready in a minute: {}", errors());
        }
        // Nobody reads further; keep the pipe open so that the server may still print.
        std::thread::spawn(move || std::io::copy(&mut lines.by_ref().take(1 << 20), &mut std::io::sink()));
        Server { child: Some(child), port: self.port }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Option<Child>,
    port: u16,
}

impl Server {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// A new session, greeted.
    pub fn connect(&self) -> Client {
        let mut client = Client::connect(self.port);
        client.expect(220);
        client
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).expect("a running process has an id");
        rustix::process::kill_process(pid, signal).expect("the server is there to be told");
    }

    /// SIGTERM, and its exit status.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait(Duration::from_secs(60))
    }

    /// Waits for the end of the process, which must come in time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("waited for once");
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the process is ours") {
                return status;
            }
            if began.elapsed() > limit {
                let _ = child.kill();
                panic!("the server did not end within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: as a power cut for the process, not for the disk.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The binary beside this test's own folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("POSTHASTE") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process knows its own program");
    let path = own.parent().and_then(Path::parent).expect("tests lie in deps").join("posthaste");
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask test`, or `cargo build -p posthaste` first",
        path.display()
    );
    path
}
