//! A real Postfix as the next hop: what it logs is what arrived.

use acceptance::{Site, free_port, peer_program, postfix, smtp_source, within};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

const MESSAGES: usize = 2000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A Postfix of its own folder, unpacked and never installed; it takes everything from loopback and discards it.
struct Postfix {
    folder: tempfile::TempDir,
    master: Child,
    port: u16,
}

impl Postfix {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Its processes run as its own user and must reach their files.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (port, at) = (free_port(), |name: &str| folder.path().join(name));
        let (owner, group) = (id("passwd", "postfix"), id("group", "postdrop"));
        make(&at("data"), 0o700, owner, None);
        for name in "active bounce corrupt defer deferred flush hold incoming private saved trace".split(' ') {
            make(&at("spool").join(name), 0o700, owner, None);
        }
        std::fs::create_dir_all(at("spool/pid")).unwrap();
        make(&at("spool/maildrop"), 0o730, owner, Some(group));
        make(&at("spool/public"), 0o710, owner, Some(group));
        std::fs::create_dir_all(at("conf")).unwrap();
        std::fs::write(at("conf/main.cf"), main_cf(folder.path())).unwrap();
        std::fs::write(at("conf/master.cf"), master_cf(port)).unwrap();
        let mut command = postfix("usr/lib/postfix/sbin/master");
        command.arg("-c").arg(at("conf")).arg("-d").env("MAIL_CONFIG", at("conf"));
        let errors = std::fs::File::create(at("stderr")).unwrap();
        let master = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().expect("master starts");
        let postfix = Self { folder, master, port };
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(within(Duration::from_secs(20), listens), "Postfix does not listen: {}", postfix.told());
        postfix
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default()
    }

    /// What it says when something is wrong.
    fn told(&self) -> String {
        let errors = std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains("fatal") || line.contains("warning"));
        errors + &lines.take(20).collect::<Vec<_>>().join("\n")
    }

    /// How often each recipient's local part was disposed of, and how.
    fn recipients(&self) -> HashMap<String, Vec<String>> {
        let mut recipients: HashMap<String, Vec<String>> = HashMap::new();
        for line in self.log().lines() {
            let Some((_, rest)) = line.split_once(": to=<") else { continue };
            let local = rest.split('@').next().unwrap_or_default();
            let status = rest.split("status=").nth(1).and_then(|text| text.split(' ').next()).unwrap_or_default();
            recipients.entry(local.to_owned()).or_default().push(status.to_owned());
        }
        recipients
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // It ends its own children when it is asked to end.
        let pid = Pid::from_raw(self.master.id() as i32).expect("a process has an id");
        let _ = kill_process(pid, Signal::TERM);
        within(Duration::from_secs(5), || matches!(self.master.try_wait(), Ok(Some(_))));
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

/// The number of a user or group.
fn id(table: &str, name: &str) -> u32 {
    let text = std::fs::read_to_string(Path::new("/etc").join(table)).unwrap();
    let row = text.lines().find(|line| line.split(':').next() == Some(name));
    let number = row.and_then(|row| row.split(':').nth(2)?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is not in /etc/{table}: run `cargo xtask test` as root"))
}

fn make(folder: &PathBuf, mode: u32, owner: u32, group: Option<u32>) {
    std::fs::create_dir_all(folder).unwrap();
    chown(folder, Some(owner), group).expect("Postfix's folders belong to its user, which takes root");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn main_cf(folder: &Path) -> String {
    let (place, lib) = (folder.display(), peer_program("postfix", "usr/lib/postfix"));
    let (lib, bin) = (lib.display(), peer_program("postfix", "usr/sbin"));
    format!(
        "compatibility_level = 3.6\nimport_environment = MAIL_CONFIG={place}/conf LD_LIBRARY_PATH={lib} TZ LANG=C\n\
         queue_directory = {place}/spool\ndata_directory = {place}/data\ndaemon_directory = {lib}/sbin\n\
         command_directory = {}\nshlib_directory = {lib}\nmeta_directory = {place}/conf\nmail_owner = postfix\n\
         setgid_group = postdrop\nmaillog_file = {place}/mail.log\nmaillog_file_prefixes = /\n\
         myhostname = postfix.accept.test\nmydestination =\nlocal_recipient_maps =\nalias_maps =\n\
         mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\nsmtpd_peername_lookup = no\n\
         smtpd_tls_security_level = none\ndefault_transport = discard:\nin_flow_delay = 0\n",
        bin.display()
    )
}

fn master_cf(port: u16) -> String {
    let mut text = format!("127.0.0.1:{port} inet n - n - 100 smtpd\n");
    for (name, private, wakeup, most, program) in [
        ("cleanup", "n", "-", "0", "cleanup"),
        ("qmgr", "n", "300", "1", "qmgr"),
        ("tlsmgr", "-", "1000?", "1", "tlsmgr"),
        ("rewrite", "-", "-", "-", "trivial-rewrite"),
        ("bounce", "-", "-", "0", "bounce"),
        ("defer", "-", "-", "0", "bounce"),
        ("trace", "-", "-", "0", "bounce"),
        ("proxymap", "-", "-", "-", "proxymap"),
        ("error", "-", "-", "-", "error"),
        ("retry", "-", "-", "-", "error"),
        ("discard", "-", "-", "-", "discard"),
        ("anvil", "-", "-", "1", "anvil"),
    ] {
        let _ = writeln!(text, "{name} unix {private} - n {wakeup} {most} {program}");
    }
    text + "postlog unix-dgram n - n - 1 postlogd\n"
}

#[test]
fn postfix_sees_every_recipient_exactly_once() {
    let next_hop = Postfix::start();
    let extra = format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nmax_connections = 20\nretry_interval = \"1s\"\n",
        next_hop.port
    );
    let site = Site::new(&extra);
    let server = site.start();
    let (target, count) = (format!("127.0.0.1:{}", site.port), MESSAGES.to_string());
    let addresses = ["-f", "s@load.test", "-t", "u@load.test"];
    smtp_source(&[&["-d", "-N", "-s", "10", "-l", "2048", "-m", &count][..], &addresses, &[&target]].concat());
    let arrived = within(PATIENCE, || next_hop.recipients().len() >= MESSAGES);
    assert!(arrived, "{} of {MESSAGES}: {}", next_hop.recipients().len(), next_hop.told());
    let recipients = next_hop.recipients();
    assert_eq!(recipients.len(), MESSAGES);
    let other = recipients.iter().find(|(_, dispositions)| *dispositions != &["sent"]);
    assert!(other.is_none(), "not exactly once: {other:?}");
    let rows = |kind: &str| site.rows(kind).len();
    assert!(within(PATIENCE, || rows("D") == MESSAGES), "{} D rows", rows("D"));
    assert_eq!((rows("T"), rows("P")), (0, 0));
    assert!(server.stop().success());
}
