//! SIGTERM drains, SIGHUP changes the generation without touching sessions.

use acceptance::{Manner, Sink, Site, within};
use rustix::process::Signal;
use std::time::Duration;

#[test]
fn a_transaction_under_way_finishes_and_the_server_ends_with_zero() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let mut server = site.start();
    let mut busy = server.connect();
    busy.hello();
    busy.command("MAIL FROM:<s@a.test>", 250);
    busy.command("RCPT TO:<last@b.test>", 250);
    busy.command("DATA", 354);
    let mut idle = server.connect();
    idle.hello();
    server.signal(Signal::TERM);
    // The idle session is told at once.
    assert_eq!(idle.reply().expect("a last word").0, 421);
    busy.send("Subject: last\r\n\r\nx\r\n.\r\n");
    busy.expect(250);
    assert!(server.wait(Duration::from_secs(40)).success());
    let list = site.tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()]);
    assert!(list.contains("last@b.test"), "{list}");
}

#[test]
fn a_transaction_that_does_not_finish_gets_421_at_the_deadline() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n").server("drain_timeout = \"2s\"\n");
    let mut server = site.start();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    server.signal(Signal::TERM);
    assert_eq!(client.reply().expect("a last word").0, 421);
    assert!(server.wait(Duration::from_secs(20)).success());
}

#[test]
fn reload_changes_what_comes_and_not_what_is_there() {
    let (old, new) = (Sink::start(Manner::default()), Sink::start(Manner::default()));
    let route = |sink: &Sink| format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port);
    let mut site = Site::new(&route(&old));
    let server = site.start();
    let mut session = server.connect();
    session.hello();
    assert_eq!(session.message("s@a.test", &["before@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
    assert!(within(Duration::from_secs(20), || old.unique() == 1));
    site.set_extra(&route(&new));
    server.signal(Signal::HUP);
    assert!(within(Duration::from_secs(20), || {
        assert_eq!(session.message("s@a.test", &["after@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
        std::thread::sleep(Duration::from_millis(100));
        new.unique() == 1
    }));
    // A broken file changes nothing.
    site.set_extra("[domain.\"*\"]\nroute = \"smpt://127.0.0.1:1\"\n");
    server.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(session.message("s@a.test", &["still@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
    assert!(within(Duration::from_secs(20), || new.ids().contains_key("still")));
    assert!(server.stop().success());
}

#[test]
fn mail_that_was_held_leaves_when_its_route_changes() {
    let mut site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let server = site.start();
    let mut session = server.connect();
    session.hello();
    assert_eq!(session.message("s@a.test", &["held@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
    let sink = Sink::start(Manner::default());
    site.set_extra(&format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port));
    server.signal(Signal::HUP);
    assert!(within(Duration::from_secs(20), || sink.unique() == 1));
}
