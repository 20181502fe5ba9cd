//! Rows of a whole life, and logs that are moved away.

use acceptance::{Manner, Sink, Site, within};
use rustix::process::Signal;
use std::time::Duration;

const LOGS: &str =
    "[log.main]\nformat = \"ec\"\npath = \"mainlog.ec\"\n[log.reject]\nformat = \"reject\"\npath = \"rejectlog.ec\"\n";

#[test]
fn reception_delivery_and_refusal_have_their_rows() {
    let sink = Sink::start(Manner::default());
    let extra = format!("{LOGS}[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port);
    let site = Site::new(&extra).listener("relay_domains = [\"b.test\"]\n");
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    client.command("RCPT TO:<x@elsewhere.test>", 550);
    client.command("RCPT TO:<u@b.test>", 250);
    client.command("DATA", 354);
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    client.expect(250);
    // The two rows may come from different loops, in either order.
    let has = |kind: &str| site.log("mainlog.ec").contains(kind);
    assert!(within(Duration::from_secs(20), || has("@R@") && has("@D@")));
    let log = site.log("mainlog.ec");
    let rows: Vec<Vec<&str>> = log.lines().map(|row| row.split('@').collect()).collect();
    let row = |kind: &str| rows.iter().find(|row| row[4] == kind).unwrap();
    let (received, delivered) = (row("R"), row("D"));
    assert_eq!(received.len(), 14, "{log}");
    assert_eq!(&received[4..10], ["R", "u", "b.test", "s", "a.test", "127.0.0.1"]);
    assert_eq!(delivered.len(), 12, "{log}");
    assert_eq!(&delivered[4..6], ["D", "b.test"]);
    assert_eq!(delivered[1], received[1], "one id through a message's life");
    assert_eq!(delivered[11], "127.0.0.1");
    assert!(
        within(Duration::from_secs(5), || site.log("rejectlog.ec").contains("E=550")),
        "{}",
        site.log("rejectlog.ec")
    );
    assert!(site.log("rejectlog.ec").contains("relaying denied"));
}

#[test]
fn usr1_opens_logs_anew() {
    let site = Site::new(&format!("{LOGS}[domain.\"*\"]\nroute = \"hold:\"\n"));
    let server = site.start();
    let send = |id: &str| {
        let mut client = server.connect();
        client.hello();
        assert_eq!(client.message("s@a.test", &[&format!("{id}@b.test")], "Subject: x\r\n\r\nx").unwrap().0, 250);
    };
    send("first");
    assert!(within(Duration::from_secs(10), || site.log("mainlog.ec").contains("@first@")));
    std::fs::rename(site.path("log/mainlog.ec"), site.path("log/mainlog.1")).unwrap();
    server.signal(Signal::USR1);
    assert!(within(Duration::from_secs(10), || site.path("log/mainlog.ec").exists()));
    send("second");
    assert!(within(Duration::from_secs(10), || site.log("mainlog.ec").contains("@second@")));
    assert!(!site.log("mainlog.1").contains("@second@"));
}
