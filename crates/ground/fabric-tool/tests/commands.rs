//! The real binary, as a user starts it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A directory for sockets and files, gone at the end.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ipc(&self, name: &str) -> String {
        format!("ipc:{}", self.path(name).display())
    }
}

fn fabric(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fabric"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that is killed when the test ends early.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().expect("started")))
    }

    fn id(&self) -> u32 {
        self.0.as_ref().expect("running").id()
    }

    /// Writes all of it and closes.
    fn feed(&mut self, bytes: &[u8]) {
        let mut input = self.0.as_mut().expect("running").stdin.take().expect("piped");
        input.write_all(bytes).expect("it reads");
    }

    fn wait(mut self) -> Output {
        finish(self.0.take().expect("running"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits, but not for ever.
fn finish(mut child: Child) -> Output {
    let reader = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).expect("read");
            }
            bytes
        })
    };
    let out = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end; it said: {}", String::from_utf8_lossy(&err.join().expect("read")));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: out.join().expect("read"), stderr: err.join().expect("read") }
}

fn run(args: &[&str]) -> Output {
    finish(fabric(args).spawn().expect("started"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn well(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&well(&run(args))).expect("JSON")
}

#[test]
fn rates_are_measured_between_two_processes_with_the_payload_read() {
    let place = Place::new();
    for (number, how) in
        [&["--frames", "copy"][..], &["--frames", "place", "--park"], &["--frames", "window", "--trust"]]
            .iter()
            .enumerate()
    {
        for size in ["0", "64", "100000"] {
            let uri = place.ipc(&format!("thr-{number}-{size}"));
            let mut args = vec!["perf", "thr", "--uri", &uri, "--size", size, "--messages", "2000", "--json"];
            args.extend_from_slice(how);
            let report = json(&args);
            assert_eq!((report["mode"].as_str(), report["messages"].as_u64()), (Some("thr"), Some(2000)));
            assert!(report["messages_per_second"].as_f64().expect("a rate") > 100.0, "{report}");
            assert!(report["cpu_ns_per_message"]["peer"].as_f64().expect("of both") > 0.0, "{report}");
            assert_eq!(report["payload"], "written and read in full");
        }
    }
}

#[test]
fn faults_that_lose_nothing_lose_nothing_over_any_transport() {
    let place = Place::new();
    let schemes = json(&["schemes", "--json"]);
    let schemes = schemes.as_array().expect("a list").iter();
    let networks = schemes.filter(|it| it["scheme"] == "tcp" && it["available"] == true);
    let networks = networks.map(|it| format!("{}?via={}", tcp(), it["via"].as_str().expect("a name")));
    for uri in ["inproc:faults".to_owned(), place.ipc("faults")].into_iter().chain(networks) {
        let more = if uri.contains('?') { '&' } else { '?' };
        let uri = format!("{uri}{more}filter=faults&faults=seed:9,delay:0us-2ms,stall:30/3ms,split:5,refuse:6");
        for frames in ["copy", "window"] {
            let args = ["perf", "thr", "--uri", &uri, "--messages", "1500", "--size", "700", "--frames", frames];
            let report = json(&[&args[..], &["--json"]].concat());
            assert!(report["messages_per_second"].as_f64().expect("a rate") > 0.0, "{uri}");
        }
    }
}

/// An address on which nobody listens now.
fn tcp() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    format!("tcp://{}", listener.local_addr().expect("bound"))
}

#[test]
fn networks_are_measured_too() {
    for mode in ["thr", "lat"] {
        let report = json(&["perf", mode, "--uri", &tcp(), "--messages", "500", "--size", "3000", "--json"]);
        assert_eq!((report["mode"].as_str(), report["size"].as_u64()), (Some(mode), Some(3000)));
    }
}

#[test]
fn round_trips_are_measured_in_one_process_and_in_two() {
    let place = Place::new();
    for uri in ["inproc:lat".to_owned(), place.ipc("lat")] {
        let report = json(&["perf", "lat", "--uri", &uri, "--messages", "300", "--size", "1000", "--json"]);
        let times = &report["round_trip_ns"];
        let [median, most] = ["p50", "max"].map(|name| times[name].as_u64().expect("a time"));
        assert!(0 < median && median <= most, "{report}");
    }
    let words = well(&run(&["perf", "lat", "--uri", "inproc:words", "--messages", "10"]));
    assert!(words.contains("round trip p50") && words.contains("payload written and read in full"), "{words}");
}

#[test]
fn two_terminals_measure_together_in_either_order() {
    let place = Place::new();
    for first in ["--listen", "--connect"] {
        let uri = place.ipc(first.trim_start_matches('-'));
        let side = |role| fabric(&["perf", "thr", "--uri", &uri, "--messages", "1000", "--json", role]);
        let second = if first == "--listen" { "--connect" } else { "--listen" };
        let one = Running::start(&mut side(first));
        std::thread::sleep(Duration::from_millis(100));
        let other = Running::start(&mut side(second));
        let reports =
            [one.wait(), other.wait()].map(|output| serde_json::from_str::<Value>(&well(&output)).expect("JSON"));
        let rates = reports.iter().filter(|report| report["messages_per_second"].is_f64()).count();
        assert_eq!(rates, 1, "the listening side measures: {reports:?}");
    }
}

#[test]
fn pings_are_answered_and_timed() {
    let place = Place::new();
    let uri = place.ipc("ping");
    let answering = Running::start(&mut fabric(&["ping", &uri, "--listen", "--answer"]));
    let words = well(&run(&["ping", &uri, "--count", "3", "--interval", "1", "--size", "100"]));
    assert_eq!(words.matches("100 bytes from").count(), 3, "{words}");
    assert!(words.contains("3 asked, 3 answered"), "{words}");
    well(&answering.wait());
}

#[test]
fn a_ping_without_a_peer_fails_and_says_so() {
    let place = Place::new();
    let uri = place.ipc("nobody");
    let output = run(&["ping", &uri, "--timeout", "200"]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.starts_with("fabric: ") && words.contains(&uri) && words.contains("no peer came"), "{words}");
}

fn piped(args: &[&str]) -> Running {
    Running::start(fabric(args).stdin(Stdio::piped()))
}

#[test]
fn cat_pipes_bytes_both_ways_in_either_order_of_start() {
    let place = Place::new();
    let there: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for listener_first in [true, false] {
        let uri = place.ipc(&format!("cat-{listener_first}"));
        let (listening, connecting) = (["cat", &uri, "--listen"], ["cat", &uri]);
        let (first, second) =
            if listener_first { (&listening[..], &connecting[..]) } else { (&connecting[..], &listening[..]) };
        let mut one = piped(first);
        std::thread::sleep(Duration::from_millis(50));
        let mut other = piped(second);
        one.feed(&there);
        other.feed(b"back\n");
        // Both at once: a pipe that nobody empties holds its writer up.
        let one = std::thread::spawn(move || one.wait());
        let other = other.wait();
        let one = one.join().expect("it ends");
        well(&one);
        well(&other);
        assert!(other.stdout == there, "{} of {} bytes", other.stdout.len(), there.len());
        assert_eq!(text(&one.stdout), "back\n");
    }
}

#[test]
fn cat_goes_one_way_and_sees_a_killed_peer() {
    let place = Place::new();
    let uri = place.ipc("one-way");
    let mut sending = piped(&["cat", &uri, "--only", "send"]);
    let receiving = Running::start(&mut fabric(&["cat", &uri, "--listen", "--only", "receive"]));
    sending.feed(b"one way");
    assert_eq!(well(&receiving.wait()), "one way");
    well(&sending.wait());

    let uri = place.ipc("killed");
    let mut dying = piped(&["cat", &uri]);
    let left = Running::start(fabric(&["cat", &uri, "--listen"]).stdin(Stdio::piped()));
    dying.0.as_mut().expect("running").stdin.as_mut().expect("piped").write_all(b"last words").expect("it reads");
    std::thread::sleep(Duration::from_millis(300));
    drop(dying);
    let output = left.wait();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "last words"));
    assert!(text(&output.stderr).contains("it died"), "{}", text(&output.stderr));
}

#[test]
fn a_recording_between_two_peers_is_replayed_in_order() {
    let place = Place::new();
    let (from, to, file) = (place.ipc("from"), place.ipc("to"), place.path("recording"));
    let file = file.to_str().expect("plain");
    let recording = Running::start(&mut fabric(&["capture", file, "--from", &from, "--to", &to]));
    let mut answering = piped(&["cat", &to, "--listen"]);
    let mut asking = piped(&["cat", &from]);
    asking.feed(b"question\n");
    answering.feed(b"answer\n");
    assert_eq!(well(&asking.wait()), "answer\n");
    assert_eq!(well(&answering.wait()), "question\n");
    well(&recording.wait());

    let printed = well(&run(&["replay", file, "--print"]));
    for part in [
        "met pid ",
        "in  bulk   Data 0, 1 frames, 9 bytes, \"question\\n\"",
        "out bulk   Data 0, 1 frames, 7 bytes, \"answer\\n\"",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let uri = place.ipc("again");
    let receiving = Running::start(&mut fabric(&["cat", &uri, "--listen", "--only", "receive"]));
    let sent = run(&["replay", file, &uri, "--at-once"]);
    well(&sent);
    assert!(text(&sent.stderr).contains("2 messages sent"), "{}", text(&sent.stderr));
    assert_eq!(well(&receiving.wait()), "question\n");
}

#[test]
fn a_recording_is_never_overwritten_and_what_is_none_is_named() {
    let place = Place::new();
    let file = place.path("notes");
    std::fs::write(&file, "not a recording, but long enough for its header\n").expect("written");
    let name = file.to_str().expect("plain");
    let output = run(&["capture", name, "--from", &place.ipc("x")]);
    assert!(!output.status.success() && text(&output.stderr).contains("exists"), "{}", text(&output.stderr));
    let output = run(&["replay", name, "--print"]);
    assert!(!output.status.success() && text(&output.stderr).contains("no capture"), "{}", text(&output.stderr));
}

#[test]
fn inspect_shows_both_sides_of_a_living_link() {
    let place = Place::new();
    let uri = place.ipc("inspected");
    let listening = Running::start(fabric(&["cat", &uri, "--listen"]).stdin(Stdio::piped()));
    let mut connecting = piped(&["cat", &uri]);
    let input = connecting.0.as_mut().expect("running").stdin.as_mut().expect("piped");
    input.write_all(b"hello").expect("it reads");
    let pid = listening.id().to_string();
    let start = Instant::now();
    let link = loop {
        let links = json(&["inspect", &pid, "--json"]);
        if let Some(link) =
            links.as_array().expect("a list").iter().find(|link| link["near"]["bulk"]["messages_read"] == 1)
        {
            break link.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{links}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(link["near"]["pid"].as_u64(), Some(listening.id().into()));
    assert_eq!(link["far"]["pid"].as_u64(), Some(connecting.id().into()));
    assert!(link["far"]["bulk"]["taken"].as_u64() >= Some(1), "{link}");
    let words = well(&run(&["inspect", &uri]));
    assert!(words.contains(&format!("pid {}:", connecting.id())) && words.contains("1 messages"), "{words}");
    let output = run(&["inspect", "4194304999"]);
    assert!(!output.status.success(), "no process has this number");
}

#[test]
fn every_scheme_is_linked_in_and_says_what_it_lacks() {
    let schemes = json(&["schemes", "--json"]);
    let schemes = schemes.as_array().expect("a list");
    for name in ["inproc", "ipc", "tcp"] {
        assert!(schemes.iter().any(|it| it["scheme"] == name && it["available"] == true), "{name}: {schemes:?}");
    }
    for it in schemes {
        assert_eq!(it["available"].as_bool().expect("said"), it["lacks"].is_null(), "{it}");
    }
    assert_eq!(well(&run(&["schemes"])).lines().count(), schemes.len());
}

#[test]
fn mistakes_name_the_part_that_is_wrong() {
    for (args, part) in [
        (&["ping", "ipc:x?speed=9"][..], "speed"),
        (&["ping", "nonsense:x"], "nonsense"),
        (&["cat", "ipc"], "scheme"),
        (&["ping", "inproc:x?filter=faults"], "faults="),
        (&["--key", "RWx", "schemes"], "RWx"),
        (&["--module", "/nowhere/x.so", "schemes"], "/nowhere"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(part), "{args:?}: {}", text(&output.stderr));
    }
    assert_eq!(run(&["perf", "thr"]).status.code(), Some(2), "mistakes in the command line are clap's");
}

#[test]
fn a_signed_module_is_a_transport_of_the_command_line() {
    let place = Place::new();
    let module = place.path("pair.so");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fabric-modules");
    let built = Command::new("cc")
        .args(["-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-DSCHEME=\"inproc\"", "-I"])
        .arg(sources.join("include"))
        .arg("-o")
        .arg(&module)
        .arg(sources.join("sample/pair.c"))
        .status();
    assert!(built.expect("there is a C compiler").success());
    std::fs::set_permissions(&module, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random");
    let bytes = std::fs::read(&module).expect("built");
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, &bytes[..], None, None).expect("signed");
    std::fs::write(format!("{}.minisig", module.display()), signature.into_string()).expect("written");
    let (module, key) = (module.to_str().expect("plain"), pair.pk.to_base64());
    let with = |args: &[&str]| json(&[&["--module", module, "--key", &key], args].concat());
    let schemes = with(&["schemes", "--json"]);
    assert!(schemes.as_array().expect("a list").iter().any(|it| it["via"] == "module" && it["scheme"] == "inproc"));
    let report = with(&["perf", "thr", "--uri", "inproc:module", "--messages", "500", "--json"]);
    assert!(report["messages_per_second"].as_f64().expect("a rate") > 0.0);
    // Without the key it is refused.
    let output = run(&["--module", module, "schemes"]);
    assert!(!output.status.success() && text(&output.stderr).contains("not trusted"), "{}", text(&output.stderr));
}

#[test]
fn filters_of_an_address_count_and_trace() {
    let place = Place::new();
    let uri = place.ipc("filtered");
    let filtered = format!("{uri}?filter=trace,count");
    let mut sending = piped(&["cat", &filtered, "--only", "send"]);
    let receiving = Running::start(&mut fabric(&["cat", &uri, "--listen", "--only", "receive"]));
    sending.feed(b"counted");
    assert_eq!(well(&receiving.wait()), "counted");
    let output = sending.wait();
    well(&output);
    let words = text(&output.stderr);
    assert!(words.contains("met pid") && words.contains("out: 2 messages"), "{words}");
}
