//! What was acknowledged arrives, whatever happens to the process or to the end of its journal.

use acceptance::{Client, Manner, Sink, Site, within};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const ROUNDS: usize = 50;

/// Sends messages until the server is gone; the ids that were acknowledged.
fn send_until_gone(port: u16, next: &AtomicUsize, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = Client::connect(port);
    let mut step = |line: &str, octets: &[u8]| -> Option<(u16, String)> {
        let _ = line;
        if !octets.is_empty() && !client.try_send(octets) {
            return None;
        }
        client.reply()
    };
    if step("greeting", b"").is_none() || step("EHLO", b"EHLO client.test\r\n").is_none() {
        return acknowledged;
    }
    while !stop.load(Ordering::Relaxed) {
        let id = format!("k{}", next.fetch_add(1, Ordering::Relaxed));
        let lines = [
            "MAIL FROM:<s@a.test>\r\n".to_owned(),
            format!("RCPT TO:<{id}@b.test>\r\n"),
            "DATA\r\n".to_owned(),
            format!("Subject: {id}\r\n\r\n{}\r\n.\r\n", "x".repeat(900)),
        ];
        for (n, line) in lines.iter().enumerate() {
            match step(line, line.as_bytes()) {
                Some((250 | 354, _)) if n == 3 => acknowledged.push(id.clone()),
                Some((250 | 354, _)) => {}
                _ => return acknowledged,
            }
        }
    }
    acknowledged
}

#[test]
fn fifty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let sink = Sink::start(Manner::default()).count_only();
    // Retries come soon, so that what a kill interrupted is tried again within the test.
    let extra = format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nretry_interval = \"1s\"\n", sink.port);
    let site = Site::new(&extra);
    let (next, acknowledged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    for round in 0..ROUNDS {
        let server = site.start();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut ids = send_until_gone(site.port, &next, &stop);
                    acknowledged.lock().unwrap().append(&mut ids);
                });
            }
            // Moments that differ from round to round, from before the first reply to full load.
            std::thread::sleep(Duration::from_millis(7 * (round as u64 * 13 % 37)));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let acknowledged: HashSet<String> = acknowledged.into_inner().unwrap().into_iter().collect();
    let server = site.start();
    let arrived = || sink.ids().into_keys().collect::<HashSet<_>>();
    let all = within(Duration::from_secs(60), || acknowledged.is_subset(&arrived()));
    let lost = acknowledged.difference(&arrived()).count();
    assert!(all, "{lost} of {} acknowledged messages were lost", acknowledged.len());
    // A message may be repeated if its outcome was not durable yet: at most what 50 ms and the open transactions hold.
    let repeated = sink.ids().values().filter(|&&times| times > 1).count();
    eprintln!("{} acknowledged, {repeated} repeated in {ROUNDS} kills", acknowledged.len());
    assert!(acknowledged.len() > 1000, "the rounds were too short to say anything: {}", acknowledged.len());
    assert!(repeated <= acknowledged.len() / 5, "{repeated} of {} were repeated", acknowledged.len());
    assert!(server.stop().success());
}

/// Fills a spool with `count` held messages and kills the server.
fn held(count: usize) -> Site {
    let site = Site::new("[spool]\nsegment_size = \"1MiB\"\n[domain.\"*\"]\nroute = \"hold:\"\n");
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    for n in 0..count {
        let content = format!("Subject: {n}\r\n\r\n{}", "y".repeat(3000));
        assert_eq!(client.message("s@a.test", &[&format!("h{n}@b.test")], &content).unwrap().0, 250);
    }
    server.kill();
    site
}

/// The journal's segments in the order of their names, with those that hold records first.
fn segments(site: &Site) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(site.path("spool/journal"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    files.sort();
    files
}

/// Where a held message's text lies: file and offset.
fn find(site: &Site, text: &str) -> (std::path::PathBuf, usize) {
    for file in segments(site) {
        let octets = std::fs::read(&file).unwrap();
        if let Some(at) = octets.windows(text.len()).position(|window| window == text.as_bytes()) {
            return (file, at);
        }
    }
    panic!("{text:?} is in no segment");
}

fn subjects_after_restart(site: &mut Site) -> HashSet<String> {
    let sink = Sink::start(Manner::default());
    let route =
        format!("[spool]\nsegment_size = \"1MiB\"\n[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port);
    site.set_extra(&route);
    let server = site.start();
    let mut before = usize::MAX;
    // Until nothing has come for two seconds.
    within(Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_secs(2));
        let now = sink.unique();
        std::mem::replace(&mut before, now) == now
    });
    server.kill();
    sink.ids().into_keys().collect()
}

#[test]
fn a_flipped_byte_costs_one_message_and_is_reported() {
    let mut site = held(600);
    let (file, at) = find(&site, "Subject: 17\r\n");
    let mut octets = std::fs::read(&file).unwrap();
    octets[at + 100] ^= 0x40;
    std::fs::write(&file, octets).unwrap();
    let check = site.tool(&["spool", "check", "--config", site.config().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "check must say that something is damaged: {text}");
    let arrived = subjects_after_restart(&mut site);
    let missing: Vec<_> = (0..600).map(|n| format!("h{n}")).filter(|id| !arrived.contains(id)).collect();
    assert_eq!(missing, ["h17"], "only the damaged message may be missing");
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_arrives() {
    let mut site = held(300);
    let (file, at) = find(&site, "Subject: 299\r\n");
    let octets = std::fs::read(&file).unwrap();
    // The last record's second half never reached the disk.
    let mut torn = octets.clone();
    torn[at + 1000..].fill(0);
    std::fs::write(&file, torn).unwrap();
    let arrived = subjects_after_restart(&mut site);
    let missing: Vec<_> = (0..300).map(|n| format!("h{n}")).filter(|id| !arrived.contains(id)).collect();
    assert_eq!(missing, ["h299"]);
}

#[test]
fn a_truncated_segment_costs_what_was_cut() {
    let mut site = held(600);
    let (file, at) = find(&site, "Subject: 100\r\n");
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(at as u64 + 10).unwrap();
    let arrived = subjects_after_restart(&mut site);
    assert!((0..100).all(|n| arrived.contains(&format!("h{n}"))), "what lies before the cut must arrive");
    assert!(arrived.contains("h599"), "other segments must arrive");
    assert!(!arrived.contains("h100"));
}
