//! What comes back: marked mail leaves, its bounce or complaint comes in, and the logs and the suppression list know whom it
//! is about.

use acceptance::{Arrival, Manner, Server, Sink, Site, within};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A site that marks what it sends to `sink`, takes bounces and complaints from anybody, and suppresses on them.
fn site(sink: &Sink, more: &str) -> Site {
    let site = Site::new("").listener("relay_from = []\nrelay_domains = [\"customer.test\"]\n");
    let (key, rules) = (site.path("mark.key"), site.path("rules.toml"));
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").expect("the site's folder is writable");
    std::fs::write(&rules, "[rule.ours]\nclass = \"mail-block\"\nany = \"purple elephants\"\n")
        .expect("the site's folder is writable");
    let mut site = site;
    site.set_extra(&format!(
        "[bounce]\nrules = [\"{}\"]\nkeys = [\"{}\"]\ndomains = [\"bounces.test\"]\n\
         [feedback]\naddresses = [\"fbl@accept.test\"]\nuser_string = \"node a\"\n\
         [suppression]\naction = \"reject\"\n\
         [auto_suppression.hard]\ncauses = [\"invalid-recipient\", \"complaint\"]\n\
         [auto_suppression.full]\ncauses = [\"mailbox-full\"]\ncount = 2\nduration = \"1d\"\n\
         [domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nverp_domain = \"bounces.test\"\nfeedback_mark = true\n{more}\
         [log.main]\nformat = \"ec\"\npath = \"mainlog.ec\"\n[log.bounces]\nformat = \"bounce\"\npath = \"bouncelog.ec\"\n\
         [log.complaints]\nformat = \"feedback\"\npath = \"fbllog.ec\"\n",
        rules.display(),
        key.display(),
        sink.port,
    ));
    site
}

/// Sends one message to `to` and gives what leaves for the first of them.
fn sent(server: &Server, sink: &Sink, from: &str, to: &[&str]) -> Arrival {
    let before = sink.arrivals().len();
    let mut client = server.connect();
    client.hello();
    let reply = client.message(from, to, "Subject: news\r\nMessage-ID: <n1@client.test>\r\n\r\nhello");
    assert_eq!(reply.map(|(code, _)| code), Some(250));
    assert!(within(PATIENCE, || sink.arrivals().len() >= before + to.len()));
    let named = |arrival: &&Arrival| arrival.recipients.iter().any(|line| line.contains(to[0]));
    sink.arrivals().iter().skip(before).find(named).cloned().expect("it arrived")
}

/// The address within `MAIL FROM:<…>`.
fn return_path(arrival: &Arrival) -> String {
    arrival.mail.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

/// A delivery report as a real host writes it.
fn report(to: &str, recipient: &str, status: &str, text: &str) -> String {
    format!(
        "From: MAILER-DAEMON@far.test\r\nTo: {to}\r\nSubject: failure\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
         --x\r\n\r\nIt did not work.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; far.test\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\n\
         Status: {status}\r\nDiagnostic-Code: smtp; {text}\r\n--x--"
    )
}

/// A stranger brings a message.
fn bring(server: &Server, from: &str, to: &str, content: &str) -> u16 {
    let mut client = server.connect();
    client.hello();
    client.message(from, &[to], content).map_or(0, |(code, _)| code)
}

fn accepts(server: &Server, recipient: &str) -> bool {
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<me@client.test>", 250);
    client.send(format!("RCPT TO:<{recipient}>\r\n"));
    client.reply().is_some_and(|(code, _)| code == 250)
}

/// The row of a log that holds all of these.
fn row(site: &Site, log: &str, wanted: &[&str]) -> Option<String> {
    let text = site.log(log);
    text.lines().find(|line| wanted.iter().all(|word| line.contains(word))).map(str::to_owned)
}

fn returns(site: &Site) -> String {
    site.tool_ok(&["console", "--config", &site.config().display().to_string(), "returns"])
}

#[test]
fn a_bounce_of_marked_mail_is_attributed_and_suppresses() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    let arrival = sent(&server, &sink, "news@client.test", &["joe@customer.test", "jim@customer.test"]);
    let path = return_path(&arrival);
    assert!(path.starts_with("b+1") && path.ends_with("-joe=customer.test@bounces.test"), "{path}");
    assert_eq!(arrival.recipients.len(), 1, "a transaction for each: {arrival:?}");
    assert!(accepts(&server, "joe@customer.test"));
    // The host forwarded it, so the report names somebody else.
    let content = report(&path, "alias@far.test", "5.1.1", "550 5.1.1 user unknown");
    assert_eq!(bring(&server, "", &path, &content), 250);
    let found = || row(&site, "bouncelog.ec", &["@B@joe@customer.test@", "@21@10@", "550 5.1.1 user unknown"]);
    assert!(within(PATIENCE, || found().is_some()), "{}", site.log("bouncelog.ec"));
    let line = found().expect("it was just found");
    let id = line.split('@').nth(1).unwrap_or_default().to_owned();
    assert!(row(&site, "mainlog.ec", &[&id, "@R@joe@customer.test@"]).is_some(), "{line}\n{}", site.log("mainlog.ec"));
    assert!(within(PATIENCE, || !accepts(&server, "joe@customer.test")), "the next RCPT is refused");
    assert!(accepts(&server, "jim@customer.test"));
    let config = site.config().display().to_string();
    let check = site.tool_ok(&["suppression", "check", "joe@customer.test", "--config", &config]);
    assert!(check.contains("bounce:10") && check.contains("source=hard"), "{check}");
    assert!(returns(&site).contains("Suppressed Automatically: 1"), "{}", returns(&site));
    assert!(server.stop().success());
}

#[test]
fn a_forged_mark_is_not_believed_and_suppresses_nobody() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    let path = return_path(&sent(&server, &sink, "news@client.test", &["joe@customer.test"]));
    let forged = path.replace("joe=", "jim=");
    assert_ne!(path, forged);
    let content = report("news@client.test", "jim@customer.test", "5.1.1", "550 5.1.1 user unknown");
    assert_eq!(bring(&server, "", &forged, &content), 250);
    // And one without any mark.
    let content = report("b@bounces.test", "jim@customer.test", "5.1.1", "550 5.1.1 user unknown");
    assert_eq!(bring(&server, "", "b@bounces.test", &content), 250);
    let rows = || site.log("bouncelog.ec").lines().filter(|line| line.contains("@B@jim@customer.test@")).count();
    assert!(within(PATIENCE, || rows() == 2), "{}", site.log("bouncelog.ec"));
    let log = site.log("bouncelog.ec");
    assert!(log.lines().all(|line| line.contains("@00/00-00000-00000000@")), "nobody's id: {log}");
    let text = returns(&site);
    assert!(text.contains("Forged Marks: 1") && text.contains("Suppressed Automatically: 0"), "{text}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(accepts(&server, "jim@customer.test") && accepts(&server, "joe@customer.test"));
    assert!(server.stop().success());
}

#[test]
fn a_complaint_is_logged_and_its_recipient_suppressed() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    let arrival = sent(&server, &sink, "news@client.test", &["Joe.Doe@customer.test"]);
    let content = String::from_utf8_lossy(&arrival.content).into_owned();
    assert!(content.starts_with("X-Posthaste-Mark: 1."), "{content}");
    assert!(!content.contains("Joe.Doe"), "the mark names nobody in plain: {content}");
    // The provider strikes the address out, and returns the header.
    let header = content.split("\r\n\r\n").next().unwrap_or_default();
    let arf = |kind: &str, header: &str| {
        format!(
            "From: fbl@provider.test\r\nTo: fbl@accept.test\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"y\"\r\n\r\n\
             --y\r\n\r\nA complaint.\r\n--y\r\nContent-Type: message/feedback-report\r\n\r\n\
             Feedback-Type: {kind}\r\nUser-Agent: Provider/1\r\nVersion: 1\r\n\r\n--y\r\n\
             Content-Type: text/rfc822-headers\r\n\r\n{header}\r\n\r\n--y--"
        )
    };
    assert_eq!(bring(&server, "fbl@provider.test", "fbl@accept.test", &arf("not-spam", header)), 250);
    let wanted = ["@F@Joe.Doe@customer.test@default@default@", "@provider.test@node a"];
    let found = |kind: &str| row(&site, "fbllog.ec", &[wanted[0], kind, wanted[1]]);
    assert!(within(PATIENCE, || found("@not-spam@").is_some()), "{}", site.log("fbllog.ec"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(accepts(&server, "joe.doe@customer.test"), "that was no complaint");
    assert_eq!(bring(&server, "fbl@provider.test", "fbl@accept.test", &arf("abuse", header)), 250);
    assert!(within(PATIENCE, || found("@abuse@").is_some()), "{}", site.log("fbllog.ec"));
    let line = found("@abuse@").expect("it was just found");
    let id = line.split('@').nth(1).unwrap_or_default().to_owned();
    assert!(row(&site, "mainlog.ec", &[&id, "@R@Joe.Doe@"]).is_some(), "{line}\n{}", site.log("mainlog.ec"));
    assert!(within(PATIENCE, || !accepts(&server, "joe.doe@customer.test")));
    assert!(server.stop().success());
}

#[test]
fn failures_in_a_conversation_count_by_the_rule() {
    let replies = vec![("RCPT TO:<full", "552 5.2.2 mailbox full"), ("RCPT TO:<odd", "550 no purple elephants")];
    let sink = Sink::start(Manner { replies, ..Manner::default() });
    let site = site(&sink, "generate_bounces = false\n");
    let server = site.start();
    let send = |to: &str| {
        let mut client = server.connect();
        client.hello();
        assert_eq!(client.message("me@client.test", &[to], "Subject: x\r\n\r\nx").map(|(code, _)| code), Some(250));
    };
    let rows = |what: &str| site.log("bouncelog.ec").lines().filter(|line| line.contains(what)).count();
    send("odd@customer.test");
    // The operator's rule, in the log of the running server.
    assert!(within(PATIENCE, || rows("@50@") == 1), "{}", site.log("bouncelog.ec"));
    send("full@customer.test");
    assert!(within(PATIENCE, || rows("@22@") == 1), "{}", site.log("bouncelog.ec"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(accepts(&server, "full@customer.test"), "two are needed");
    send("full@customer.test");
    assert!(within(PATIENCE, || !accepts(&server, "full@customer.test")));
    let config = site.config().display().to_string();
    let check = site.tool_ok(&["suppression", "check", "full@customer.test", "--config", &config]);
    assert!(check.contains("bounce:22") && check.contains("source=full") && check.contains("expires="), "{check}");
    assert!(server.stop().success());
}

#[test]
fn reports_of_ours_go_to_the_sender_and_leave_without_marks() {
    let replies = vec![("RCPT TO:<gone", "550 5.1.1 user unknown")];
    let sink = Sink::start(Manner { replies, ..Manner::default() });
    let site = site(&sink, "");
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    let sent = client.message("boss@customer.test", &["gone@customer.test"], "Subject: x\r\n\r\nx");
    assert_eq!(sent.map(|(code, _)| code), Some(250));
    let reported = || sink.arrivals().into_iter().find(|arrival| !arrival.recipients.is_empty());
    assert!(within(PATIENCE, || reported().is_some()), "the report");
    let arrival = reported().expect("it was just found");
    assert!(arrival.mail.starts_with("MAIL FROM:<>"), "{arrival:?}");
    assert!(arrival.recipients[0].contains("<boss@customer.test>"), "{arrival:?}");
    assert!(!arrival.content.starts_with(b"X-Posthaste-Mark"));
    assert!(server.stop().success());
}

#[test]
fn a_storm_of_malformed_bounces_is_survived_and_answered_by_nobody() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    let deep: String =
        (0..4000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    let many: String =
        (0..20_000).map(|n| format!("Final-Recipient: rfc822; u{n}@x.test\r\nAction: failed\r\n\r\n")).collect();
    let status =
        "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n";
    let storm = [
        deep,
        format!("{status}{many}"),
        format!("{status}Final-Recipient: {}", "<".repeat(900)),
        format!("Subject: Undelivered\r\nX-Failed-Recipients: {}", "a@b,".repeat(200)),
        "X: y".to_owned(),
        format!("From: MAILER-DAEMON@x.test\r\n\r\n{}", "user unknown <a@b.test>\r\n".repeat(10_000)),
        "Content-Type: multipart/report; boundary=\"\"\r\n\r\n--\r\n--\r\n----".to_owned(),
        format!(
            "Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n\
                 Content-Type: message/feedback-report\r\n\r\n{}",
            "Original-Rcpt-To: a\r\n".repeat(3000)
        ),
    ];
    let began = Instant::now();
    const ROUNDS: usize = 40;
    for round in 0..ROUNDS {
        let content = &storm[round % storm.len()];
        // Half of them ask for an answer.
        let from = if round % 2 == 0 { "" } else { "victim@customer.test" };
        let code = bring(&server, from, &format!("b+1{round}-x=y@bounces.test"), content);
        assert!(code == 250 || code / 100 == 5, "{code} to {}", &content[..content.len().min(80)]);
    }
    // Mail still goes, and all of it has been read.
    sent(&server, &sink, "news@client.test", &["joe@customer.test"]);
    let console = |words: &str| site.tool_ok(&["console", "--config", &site.config().display().to_string(), words]);
    let count = |text: &str| -> u64 {
        text.lines().filter_map(|line| line.rsplit(':').next()?.trim().parse::<u64>().ok()).sum()
    };
    let quiet = || {
        let before = count(&console("returns"));
        std::thread::sleep(Duration::from_secs(1));
        before >= 40 && before == count(&console("returns"))
    };
    assert!(within(PATIENCE * 2, quiet), "{}", console("returns"));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    std::thread::sleep(Duration::from_secs(1));
    let answers = sink.arrivals().iter().filter(|arrival| arrival.mail.contains("<>")).count();
    assert_eq!(answers, 0, "nobody is answered");
    assert!(server.stop().success());
    // None is left to be read again.
    let config = site.config().display().to_string();
    let list = site.tool_ok(&["spool", "list", "--config", &config]);
    assert!(!list.contains("bounces.test"), "{list}");
}

#[test]
fn a_fault_in_the_rules_stops_check_and_reload() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    let config = site.config().display().to_string();
    std::fs::write(site.path("rules.toml"), "[rule.ours]\nclass = \"tiemout\"\nany = \"purple\"\n")
        .expect("the site's folder is writable");
    let output = site.tool(&["check-config", &config]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("rules.toml:2:9: ") && text.contains("`timeout`"), "{text}");
    let output = site.tool(&["console", "--config", &config, "reload"]);
    assert!(!output.status.success(), "{output:?}");
    std::fs::write(site.path("rules.toml"), "[rule.ours]\nclass = \"timeout\"\nany = \"purple\"\n")
        .expect("the site's folder is writable");
    site.tool_ok(&["check-config", &config]);
    site.tool_ok(&["console", "--config", &config, "reload"]);
    assert!(server.stop().success());
}
