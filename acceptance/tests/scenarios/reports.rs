//! What senders are told: who asked for which report gets it, and nobody else (RFC 3461).

use acceptance::{Manner, Sink, Site, within};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

#[test]
fn each_recipient_is_reported_as_the_sender_asked() {
    let sink = Sink::start(Manner { replies: vec![("RCPT TO:<gone", "550 5.1.1 gone")], ..Manner::default() });
    let site = Site::new(&format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port));
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<a@client.test> RET=HDRS ENVID=QQ+2B1", 250);
    client.command("RCPT TO:<there@b.test> NOTIFY=SUCCESS ORCPT=rfc822;first+2Blast@b.test", 250);
    client.command("RCPT TO:<quiet@b.test> NOTIFY=FAILURE,DELAY", 250);
    client.command("RCPT TO:<gone1@b.test> NOTIFY=NEVER", 250);
    client.command("RCPT TO:<gone2@b.test> NOTIFY=FAILURE", 250);
    client.command("RCPT TO:<gone3@b.test> NOTIFY=SUCCESS", 250);
    client.command("DATA", 354);
    client.command("Subject: x\r\n\r\nbody of it\r\n.", 250);
    assert!(within(PATIENCE, || sink.arrivals().len() >= 3), "the message and two reports: {:?}", sink.arrivals());
    let reports: Vec<String> = sink
        .arrivals()
        .iter()
        .filter(|arrival| arrival.mail.starts_with("MAIL FROM:<>"))
        .map(|arrival| text(&arrival.content))
        .collect();
    assert_eq!(reports.len(), 2, "{reports:?}");
    let relayed = reports.iter().find(|report| report.contains("Action: relayed")).unwrap();
    let failed = reports.iter().find(|report| report.contains("Action: failed")).unwrap();
    assert!(relayed.contains("Original-Recipient: rfc822; first+last@b.test"), "{relayed}");
    assert!(relayed.contains("there@b.test") && !relayed.contains("quiet@b.test"), "{relayed}");
    assert!(failed.contains("Final-Recipient: rfc822; gone2@b.test") && failed.contains("Status: 5.1.1"), "{failed}");
    assert!(!failed.contains("gone1@b.test") && !failed.contains("gone3@b.test"), "{failed}");
    for report in &reports {
        assert!(report.contains("Original-Envelope-Id: QQ+1"), "{report}");
        assert!(report.contains("Subject: x") && !report.contains("body of it"), "{report}");
    }
    assert!(server.stop().success());
}

#[test]
fn nobody_is_told_of_a_report_that_fails() {
    let sink = Sink::start(Manner { replies: vec![("RCPT TO:<gone", "550 5.1.1 gone")], ..Manner::default() });
    let site = Site::new(&format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port));
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    let reply = client.message("gone@client.test", &["gone@b.test"], "Subject: x\r\n\r\nbody");
    assert_eq!(reply.map(|(code, _)| code), Some(250));
    let failures = || site.log("mainlog.ec").lines().filter(|line| line.contains("550 5.1.1 gone")).count();
    assert!(within(PATIENCE, || failures() == 2), "the message and its report: {}", site.log("mainlog.ec"));
    // A report on the report would be stored before its failure is noted, and be received before the stop ends.
    assert!(server.stop().success());
    let received = site.log("mainlog.ec").lines().filter(|line| line.contains("@R@")).count();
    assert_eq!(received, 2, "{}", site.log("mainlog.ec"));
    assert!(sink.arrivals().iter().all(|arrival| arrival.recipients.is_empty()), "nobody took anything");
}
