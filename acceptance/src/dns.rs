//! A real authoritative DNS server: `knotd` of the Debian package `knot`, on an address of its own in 127.0.0.0/8, with
//! zones that the test writes, in a directory that vanishes. It counts the queries that reached it.

#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The Debian package that has the server.
const PACKAGE: &str = "knot";
/// How long the server may take to answer for its zones on a busy machine.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// One zone: its name and its records in master file form, without SOA and NS, which are added. Names without a final dot
/// are relative to the zone.
#[derive(Clone, Copy)]
pub struct Zone<'a> {
    /// Without a final dot.
    pub name: &'a str,
    /// One record a line.
    pub records: &'a str,
}

/// Queries that reached the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// By UDP.
    pub udp: u64,
    /// By TCP.
    pub tcp: u64,
}

/// A running server; killed on drop.
pub struct DnsServer {
    process: Child,
    directory: TempDir,
    address: SocketAddr,
    /// What the start itself asked.
    before: Received,
}

impl DnsServer {
    /// Starts a server and waits until it answers for the first zone. The TTL of records without one is 300 s, the
    /// minimum of the SOA 60 s.
    ///
    /// # Panics
    /// If knotd is missing or does not start.
    pub fn start(zones: &[Zone<'_>]) -> Self {
        Self::start_at(free_address(), zones)
    }

    /// As [`DnsServer::start`], where a server was that is gone.
    ///
    /// # Panics
    /// If knotd is missing or does not start.
    pub fn start_at(address: SocketAddr, zones: &[Zone<'_>]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for zone in zones {
            write_zone(directory.path(), *zone);
        }
        fs::write(directory.path().join("knot.conf"), configuration(directory.path(), address, zones)).unwrap();
        let process = Command::new(program("knotd"))
            .arg("-c")
            .arg(directory.path().join("knot.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .expect("knotd starts");
        let mut server = Self { process, directory, address, before: Received::default() };
        server.wait_until_it_answers(zones[0].name);
        server.before = server.count();
        server
    }

    /// Where it listens, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The queries received since the start.
    pub fn received(&self) -> Received {
        let now = self.count();
        Received { udp: now.udp - self.before.udp, tcp: now.tcp - self.before.tcp }
    }

    fn wait_until_it_answers(&mut self, zone: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + START_TIME_MAX;
        let mut response = [0; 512];
        loop {
            // Before the server listens, both fail: refused.
            let answered = socket.send(&soa_query(zone)).and_then(|_| socket.recv(&mut response));
            let is_positive = answered.is_ok_and(|length| length > 12 && response[3] & 15 == 0 && response[7] > 0);
            if is_positive {
                return;
            }
            let exited = self.process.try_wait().unwrap();
            if exited.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                panic!("knotd (Debian package `{PACKAGE}`) does not serve {zone} ({exited:?}):\n{log}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn count(&self) -> Received {
        let text = self.control(&["stats", "mod-stats.request-protocol"]);
        let mut received = Received::default();
        for line in text.lines() {
            let Some((counter, value)) = line.split_once(" = ") else { continue };
            let value: u64 = value.trim().parse().unwrap();
            match counter {
                "mod-stats.request-protocol[udp4]" => received.udp += value,
                "mod-stats.request-protocol[tcp4]" => received.tcp += value,
                _ => {}
            }
        }
        received
    }

    fn control(&self, arguments: &[&str]) -> String {
        let output = Command::new(program("knotc"))
            .arg("-s")
            .arg(self.directory.path().join("knot.sock"))
            .args(arguments)
            .output()
            .expect("knotc runs");
        assert!(output.status.success(), "knotc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of a program of the package.
fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("`{name}` is missing: install the Debian package `{PACKAGE}` (apt-get install -y --no-install-recommends {PACKAGE})")
    })
}

/// An address in 127.0.0.0/8 that only this process uses, for hosts that a zone names; `number` tells them apart.
pub fn own_ip(number: u8) -> Ipv4Addr {
    let process = std::process::id();
    Ipv4Addr::new(127, (process / 250 % 250 + 1) as u8, (process % 250 + 1) as u8, number)
}

/// An address of this process and this server alone, because knotd shares ports willingly (SO_REUSEPORT).
fn free_address() -> SocketAddr {
    static STARTED: AtomicU8 = AtomicU8::new(0);
    // Numbers up to 100 are left to the hosts of zones.
    let ip = own_ip(STARTED.fetch_add(1, Ordering::Relaxed) % 150 + 101);
    loop {
        let address = UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr()).expect("a free port");
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn write_zone(directory: &Path, zone: Zone<'_>) {
    let Zone { name, records } = zone;
    let text = format!(
        "$ORIGIN {name}.\n$TTL 300\n@ SOA ns.{name}. hostmaster.{name}. 1 3600 600 86400 60\n@ NS ns.{name}.\n\
         ns A 127.0.0.1\n{records}\n"
    );
    fs::write(directory.join(format!("{name}.zone")), text).unwrap();
}

fn configuration(directory: &Path, address: SocketAddr, zones: &[Zone<'_>]) -> String {
    let place = directory.display();
    let mut text = format!(
        "server:\n    rundir: \"{place}\"\n    listen: {}@{}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\ndatabase:\n    storage: \"{place}\"\nlog:\n  - target: stderr\n    any: info\n\
         mod-stats:\n  - id: all\n    request-protocol: on\ntemplate:\n  - id: default\n    storage: \"{place}\"\n    \
         zonefile-sync: -1\n    journal-content: none\n    global-module: mod-stats/all\nzone:\n",
        address.ip(),
        address.port(),
    );
    for zone in zones {
        text.push_str(&format!("  - domain: {0}\n    file: \"{0}.zone\"\n", zone.name));
    }
    text
}

/// A query for the SOA of `zone`, by hand.
fn soa_query(zone: &str) -> Vec<u8> {
    let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 6, 0, 1]);
    query
}
