//! This server as a process with a folder of its own, for benchmarks that the kit does not have.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub(crate) struct Server {
    child: Child,
}

/// A folder on the disk of the build, where the server keeps its things.
pub(crate) fn folder() -> Result<tempfile::TempDir, String> {
    let base = std::env::var_os("BENCH_WORK").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(&base).map_err(|error| format!("{}: {error}", base.display()))
}

/// The binary: `POSTHASTE`.
fn binary() -> PathBuf {
    std::env::var_os("POSTHASTE").map_or_else(|| "target/release/posthaste".into(), PathBuf::from)
}

impl Server {
    /// Starts a server with this configuration after its three folders and waits for `ready`.
    pub(crate) fn start(folder: &std::path::Path, config: &str, wrap: &[&str]) -> Result<Self, String> {
        let at = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "[server]\nhostname = \"mx.bench.test\"\ndata_dir = \"{}\"\nlog_dir = \"{}\"\nrun_dir = \"{}\"\n{config}",
            at("spool"),
            at("log"),
            at("run")
        );
        let file = folder.join("posthaste.toml");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let binary = binary();
        let mut words: Vec<std::ffi::OsString> = wrap.iter().map(Into::into).collect();
        words.extend([binary.into_os_string(), "run".into(), "--config".into(), file.into_os_string()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", words[0].display()))?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let ready = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
        if ready { Ok(Self { child }) } else { Err("the server ended before it was ready".into()) }
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).ok_or("no Pss")?;
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).ok_or_else(|| "no Pss".to_owned())
    }

    /// The console's summary.
    pub(crate) fn summary(folder: &std::path::Path) -> Result<serde_json::Value, String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = std::os::unix::net::UnixStream::connect(folder.join("run/console.sock"))?;
            stream.write_all(b"[\"summary\"]\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        let line = ask().map_err(|error| format!("console: {error}"))?;
        let answer: serde_json::Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        Ok(answer["value"].clone())
    }

    /// Asks the server to end, and waits.
    pub(crate) fn stop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
