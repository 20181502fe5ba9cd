//! The stores beside the journal, through the real binary.

use acceptance::{Manner, Server, Sink, Site, within};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(15);
const MESSAGES: usize = 50;

fn extra(store: &str, route: &str) -> String {
    format!("[spool]\nstore = \"{store}\"\n[domain.\"*\"]\nroute = \"{route}\"\nretry_interval = \"1s\"\n")
}

fn send(server: &Server, messages: usize) {
    let mut client = server.connect();
    client.hello();
    for n in 0..messages {
        let content = format!("Subject: number {n}\r\n\r\nbody of {n}\r\n..dot");
        assert_eq!(client.message("s@a.test", &[&format!("u{n}@b.test")], &content).unwrap().0, 250);
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn with_extension(site: &Site, extension: &str) -> Vec<PathBuf> {
    let all = files(&site.path("spool")).into_iter();
    all.filter(|path| path.extension().is_some_and(|own| own == extension)).collect()
}

#[test]
fn files_and_memory_relay_and_keep_nothing_afterwards() {
    for store in ["files", "memory"] {
        let sink = Sink::start(Manner::default());
        let site = Site::new(&extra(store, &format!("smtp://127.0.0.1:{}", sink.port)));
        let server = site.start();
        send(&server, MESSAGES);
        assert!(within(PATIENCE, || sink.unique() == MESSAGES), "{store}: {} arrived", sink.unique());
        let arrival = sink.arrivals().into_iter().find(|arrival| arrival.recipients[0].contains("<u7@")).unwrap();
        let text = String::from_utf8(arrival.content).unwrap();
        assert!(text.ends_with("Subject: number 7\r\n\r\nbody of 7\r\n.dot\r\n"), "{store}: {text}");
        let left = || (with_extension(&site, "msg").len(), with_extension(&site, "env").len());
        assert!(within(PATIENCE, || left() == (0, 0)), "{store}: {:?}", left());
        assert!(server.stop().success());
        assert!(sink.ids().values().all(|&times| times == 1), "{store}: a message arrived twice");
    }
}

#[test]
fn a_queued_message_is_two_files_that_an_operator_can_read() {
    let site = Site::new(&extra("files", "hold:"));
    let server = site.start();
    send(&server, MESSAGES);
    let (bodies, envelopes) = (with_extension(&site, "msg"), with_extension(&site, "env"));
    assert_eq!((bodies.len(), envelopes.len()), (MESSAGES, MESSAGES));
    let texts: Vec<String> = bodies.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let expected = "Subject: number 7\r\n\r\nbody of 7\r\n.dot\r\n";
    assert_eq!(texts.iter().filter(|text| *text == expected).count(), 1, "{texts:?}");
    for path in &envelopes {
        let octets = std::fs::metadata(path).unwrap().len();
        assert!(octets < 512, "{} has {octets} octets", path.display());
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap();
        assert!(folder.len() == 2 && u8::from_str_radix(folder, 16).is_ok(), "{folder} is none of 256");
    }
    drop(server);
}

#[test]
fn queued_files_survive_a_kill_and_leave_after_it() {
    let mut site = Site::new(&extra("files", "hold:"));
    let server = site.start();
    send(&server, MESSAGES);
    server.kill();
    assert_eq!(with_extension(&site, "env").len(), MESSAGES);
    let sink = Sink::start(Manner::default());
    site.set_extra(&extra("files", &format!("smtp://127.0.0.1:{}", sink.port)));
    let server = site.start();
    assert!(within(PATIENCE, || sink.unique() == MESSAGES), "{} arrived", sink.unique());
    assert!(within(PATIENCE, || with_extension(&site, "env").is_empty()));
    assert!(server.stop().success());
    assert!(sink.ids().values().all(|&times| times == 1), "a message arrived twice");
}

#[test]
fn the_memory_store_leaves_no_mail_on_the_disk() {
    let site = Site::new(&extra("memory", "hold:"));
    let server = site.start();
    send(&server, MESSAGES);
    let with_body = files(&site.path("spool")).into_iter().filter(|path| {
        let octets = std::fs::read(path).unwrap();
        octets.windows(9).any(|window| window == b"body of 7")
    });
    assert_eq!(with_body.count(), 0);
    let config = site.config().display().to_string();
    let summary = site.tool_ok(&["queue", "summary", "--config", &config]);
    assert!(summary.contains(&MESSAGES.to_string()), "{summary}");
    server.kill();
    let server = site.start();
    let summary = site.tool_ok(&["queue", "summary", "--config", &config]);
    assert!(!summary.contains(&MESSAGES.to_string()), "memory ends with the process: {summary}");
    drop(server);
}
