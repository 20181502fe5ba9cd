//! The suppression list in the way of mail, changed while the server runs and while it does not.

use acceptance::{Manner, Sink, Site, within};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn extra(sink: &Sink, action: &str) -> String {
    format!(
        "[suppression]\naction = \"{action}\"\n[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n\
         [log.main]\nformat = \"ec\"\npath = \"mainlog.ec\"\n[log.bounces]\nformat = \"bounce\"\npath = \"bouncelog.ec\"\n\
         [log.rejects]\nformat = \"reject\"\npath = \"rejectlog.ec\"\n",
        sink.port
    )
}

/// A command on the list with the site's configuration.
fn list(site: &Site, words: &[&str]) -> String {
    let config = site.config().display().to_string();
    let args: Vec<&str> =
        ["suppression"].into_iter().chain(words.iter().copied()).chain(["--config", &config]).collect();
    site.tool_ok(&args)
}

#[test]
fn a_suppressed_recipient_is_refused_at_rcpt() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&extra(&sink, "reject"));
    // Nobody runs: the command changes the files.
    assert!(list(&site, &["add", "Gone@Example.org", "--reason", "complaint"]).contains("gone@example.org added"));
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<a@client.test>", 250);
    let reply = client.command("RCPT TO:<GONE@example.ORG>", 550);
    assert_eq!(reply, "550 5.1.0 recipient address is suppressed\r\n", "neither why nor since when");
    client.command("RCPT TO:<\"later\"@example.org>", 250);
    client.command("RSET", 250);
    // The server runs: the command asks it, and what it answered holds for the next recipient.
    list(&site, &["add", "later@example.org"]);
    assert!(list(&site, &["check", "LATER@example.org"]).contains("is suppressed: manual"));
    client.command("MAIL FROM:<a@client.test>", 250);
    client.command("RCPT TO:<\"later\"@example.org>", 550);
    list(&site, &["remove", "later@example.org"]);
    client.command("RCPT TO:<later@example.org>", 250);
    assert!(within(PATIENCE, || site.log("rejectlog.ec").contains("suppression")), "{}", site.log("rejectlog.ec"));
    server.kill();
    // What was answered has outlived the kill.
    let server = site.start();
    assert!(list(&site, &["check", "gone@example.org"]).contains("is suppressed: complaint"));
    assert!(list(&site, &["check", "later@example.org"]).contains("is not suppressed"));
    assert!(server.stop().success());
}

#[test]
fn a_discarded_recipient_fails_with_a_record_and_the_others_get_their_mail() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&extra(&sink, "discard"));
    let server = site.start();
    list(&site, &["add", "gone@example.org", "--reason", "bounce:10"]);
    let mut client = server.connect();
    client.hello();
    let reply = client.message("a@client.test", &["gone@example.org", "there@example.org"], "Subject: x\r\n\r\nbody");
    assert_eq!(reply.map(|(code, _)| code), Some(250));
    assert!(within(PATIENCE, || sink.arrivals().len() == 2), "the message and the report of its failure");
    let arrivals = sink.arrivals();
    let to = |address: &str| {
        arrivals.iter().filter(|arrival| arrival.recipients.iter().any(|to| to.contains(address))).count()
    };
    assert_eq!((to("there@example.org"), to("gone@example.org"), to("a@client.test")), (1, 0, 1));
    let row = "550 5.1.0 [internal] recipient address is suppressed";
    assert!(within(PATIENCE, || site.log("bouncelog.ec").contains(row)), "{}", site.log("bouncelog.ec"));
    assert!(server.stop().success());
}

#[test]
fn an_import_tells_bad_lines_and_an_export_is_imported_again() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&extra(&sink, "reject"));
    let server = site.start();
    let config = site.config().display().to_string();
    let (good, bad) = (site.path("good.csv"), site.path("bad.csv"));
    let mut text = String::from("address,reason,tenant,expires\n");
    (0..20_000).for_each(|n| text.push_str(&format!("User{n}@example.org,bounce:10,,\n")));
    text.push_str("\"\"\"o d d\"\"@example.org\",unsubscribe,acme,2100-01-01T00:00:00Z\n");
    std::fs::write(&good, &text).expect("the site's folder is writable");
    std::fs::write(&bad, format!("{text}no address\nb@example.org,spam\n")).expect("the site's folder is writable");
    let import = |file: &std::path::Path, more: &[&str]| {
        let file = file.display().to_string();
        let args = ["suppression", "import", &file, "--config", &config];
        let output = site.tool(&args.into_iter().chain(more.iter().copied()).collect::<Vec<_>>());
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (ok, out, err) = import(&bad, &["--all-or-nothing"]);
    assert!(!ok && out.contains("20001 good lines, 2 bad lines; nothing was imported"), "{out}{err}");
    assert!(err.contains("bad.csv:20003: address has no domain"), "{err}");
    assert!(err.contains("bad.csv:20004: `spam` is no reason"), "{err}");
    let (ok, out, _) = import(&good, &["--dry-run"]);
    assert!(ok && out.contains("20001 good lines, 0 bad lines"), "{out}");
    assert!(list(&site, &["count"]).starts_with("0 entries"));
    let (ok, out, err) = import(&bad, &["--skip-bad"]);
    assert!(!ok && out.contains("20001 lines imported, 2 bad lines; the list has 20001 entries"), "{out}{err}");
    for name in ["out.csv", "out.jsonl"] {
        let file = site.path(name);
        let out = list(&site, &["export", &file.display().to_string()]);
        assert!(out.contains("20001 entries written"), "{out}");
        let other = Site::new(&extra(&sink, "off"));
        let config = other.config().display().to_string();
        let (from, to) = (file.display().to_string(), other.path("again.csv").display().to_string());
        other.tool_ok(&["suppression", "import", &from, "--config", &config]);
        other.tool_ok(&["suppression", "export", &to, "--config", &config]);
        let sorted = |path: &std::path::Path| {
            let text = std::fs::read_to_string(path).expect("an export can be read");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&site.path("out.csv")), sorted(&other.path("again.csv")), "{name}");
    }
    assert!(server.stop().success());
}
