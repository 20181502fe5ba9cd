//! LMTP out: one reply for each recipient after the dot (RFC 2033 section 4.2).

use acceptance::{Manner, Sink, Site, within};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(15);

/// What the store was told: every command line, and the contents.
type Heard = Arc<Mutex<Vec<String>>>;

/// A mail store that answers each recipient after the dot by its local part.
fn serve(input: impl Read, mut output: impl Write, heard: &Heard) -> std::io::Result<()> {
    let mut reader = BufReader::new(input);
    let mut recipients: Vec<String> = vec![];
    output.write_all(b"220 store.test LMTP\r\n")?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        heard.lock().unwrap().push(line.trim_end().to_owned());
        let verb = line[..4].to_ascii_uppercase();
        match verb.as_str() {
            "LHLO" => output.write_all(b"250-store.test\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n")?,
            "RCPT" => {
                recipients.push(line);
                output.write_all(b"250 2.1.5 ok\r\n")?;
            }
            "DATA" => {
                output.write_all(b"354 go on\r\n")?;
                let mut content = String::new();
                while !content.ends_with("\r\n.\r\n") {
                    if reader.read_line(&mut content)? == 0 {
                        return Ok(());
                    }
                }
                heard.lock().unwrap().push(content);
                for recipient in recipients.drain(..) {
                    let reply: &[u8] = match &recipient {
                        recipient if recipient.contains("<later@") => b"450 4.2.2 the box is full\r\n",
                        recipient if recipient.contains("<gone@") => b"550 5.1.1 the box is gone\r\n",
                        _ => b"250 2.0.0 in the box\r\n",
                    };
                    output.write_all(reply)?;
                }
            }
            "QUIT" => return output.write_all(b"221 2.0.0 bye\r\n"),
            _ => output.write_all(b"250 2.0.0 ok\r\n")?,
        }
    }
}

/// One message for three recipients through `route`: one is delivered, one waits, one fails and is reported.
fn three_outcomes(site: &mut Site, route: &str, heard: &Heard) {
    let reports = Sink::start(Manner::default());
    site.set_extra(&format!(
        "[domain.\"b.test\"]\nroute = \"{route}\"\n[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n[log.main]\nformat = \"ec\"\n\
         [log.bounce]\nformat = \"bounce\"\n",
        reports.port
    ));
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    let recipients = ["later@b.test", "there@b.test", "gone@b.test"];
    assert_eq!(client.message("s@a.test", &recipients, "Subject: x\r\n\r\nx").unwrap().0, 250);
    let rows = |kind: &str| {
        let rows = site.rows(kind).into_iter().filter(|row| row.split('@').nth(5) == Some("b.test"));
        rows.collect::<Vec<_>>()
    };
    let counts = || (rows("D").len(), rows("T").len(), rows("P").len());
    assert!(within(PATIENCE, || counts() == (1, 1, 1)), "{}", site.log("mainlog.ec"));
    assert!(rows("T")[0].contains("450 4.2.2 the box is full"), "{}", rows("T")[0]);
    assert!(rows("P")[0].contains("550 5.1.1 the box is gone"), "{}", rows("P")[0]);
    assert!(within(PATIENCE, || site.log("bouncelog.ec").contains("@B@gone@b.test@s@a.test@")));
    assert!(within(PATIENCE, || reports.unique() == 1), "the sender is told");
    let report = String::from_utf8(reports.arrivals()[0].content.clone()).unwrap();
    assert!(report.contains("Final-Recipient: rfc822; gone@b.test"), "{report}");
    assert!(!report.contains("rfc822; later@") && !report.contains("rfc822; there@"), "{report}");
    let heard = heard.lock().unwrap();
    let verbs = |verb: &str| heard.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(
        (verbs("LHLO"), verbs("EHLO"), verbs("MAIL"), verbs("RCPT"), verbs("DATA")),
        (1, 0, 1, 3, 1),
        "{heard:?}"
    );
    // Exactly the one that waits is still in the spool, once the outcomes are written down.
    let list = || site.tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()]);
    let settled = || !list().contains("there@b.test") && !list().contains("gone@b.test");
    assert!(within(PATIENCE, settled), "{}", list());
    assert!(list().contains("later@b.test"), "{}", list());
}

#[test]
fn three_outcomes_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let route = format!("lmtp://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let shared = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(&stream, &stream, &shared);
        }
    });
    three_outcomes(&mut Site::new(""), &route, &heard);
}

#[test]
fn three_outcomes_over_a_unix_socket() {
    let mut site = Site::new("");
    let path = site.path("store.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let heard = Heard::default();
    let shared = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(&stream, &stream, &shared);
        }
    });
    three_outcomes(&mut site, &format!("lmtp:{}", path.display()), &heard);
}
