//! Operations on mail that waits: each tried and done, by filters of every kind, and what a restart makes of it.

use acceptance::{Manner, Server, Sink, Site, within};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two domains with a next hop, and two bindings.
fn site(sink: &Sink, more: &str) -> Site {
    let port = sink.port;
    Site::new(&format!(
        "[domain.\"*\"]\nidle_timeout = \"0s\"\nroute = \"smtp://127.0.0.1:{port}\"\n\
         [domain.\"one.test\"]\nroute = \"smtp://127.0.0.1:{port}\"\n\
         [domain.\"two.test\"]\nroute = \"smtp://127.0.0.1:{port}\"\n\
         [binding.spare]\nsource = [\"127.0.4.1\"]\nehlo = \"spare.accept.test\"\n{more}"
    ))
}

fn send(server: &Server, from: &str, to: &str, head: &str) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message(from, &[to], &format!("{head}Subject: a\r\n\r\na")).unwrap().0, 250);
}

/// Three messages to `one.test`, of which one is news, and two to `two.test`, of which one has no sender.
fn send_five(server: &Server) {
    send(server, "s@a.test", "u1@one.test", "X-Stream: news\r\n");
    send(server, "s@a.test", "u2@one.test", "X-Tenant: acme\r\n");
    send(server, "t@b.test", "u3@one.test", "");
    send(server, "s@a.test", "u4@two.test", "");
    send(server, "", "u5@two.test", "");
}

fn queue(site: &Site, words: &[&str]) -> String {
    let words: Vec<&str> = ["queue", "--config", "posthaste.toml"].into_iter().chain(words.iter().copied()).collect();
    site.tool_ok(&words)
}

fn json(site: &Site, words: &[&str]) -> String {
    queue(site, &[words, &["--json"]].concat())
}

/// A server at rest with the five messages.
fn resting(site: &Site) -> Server {
    let server = site.start();
    queue(site, &["suspend", "all"]);
    send_five(&server);
    assert_eq!(count(site, &["all"]), 5);
    server
}

fn count(site: &Site, filter: &[&str]) -> u64 {
    let told = json(site, &[&["count"], filter].concat());
    let number = told.split("\"matched\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{told}"))
}

fn recipients(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.arrivals().iter().map(|arrival| arrival.recipients.join(" ")).collect();
    all.sort();
    all
}

/// The rows of the audit, from their operation on.
fn audited(site: &Site, row: &str) -> bool {
    within(PATIENCE, || site.log("mainlog.ec").lines().any(|line| line.contains("@O@uid=") && line.contains(row)))
}

#[test]
fn counts_and_lists_by_every_filter() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let _server = resting(&site);
    let counts: &[(&[&str], u64)] = &[
        (&["one.test"], 3),
        (&["two.test", "default"], 2),
        (&["all", "spare"], 0),
        (&["all", "--sender", "s@a.test"], 3),
        (&["all", "--sender", "@b.test"], 1),
        (&["all", "--sender", "<>"], 1),
        (&["all", "--recipient", "u4@two.test"], 1),
        (&["all", "--header", "X-Stream: News"], 1),
        (&["all", "--header", "x-stream"], 1),
        (&["all", "--tenant", "acme"], 1),
        (&["all", "--tenant", "a.test"], 2),
        (&["one.test", "--sender", "s@a.test", "--header", "X-Tenant"], 1),
        (&["all", "--older", "1h"], 0),
        (&["all", "--younger", "1h"], 5),
    ];
    for (filter, expected) in counts {
        assert_eq!(count(&site, filter), *expected, "{filter:?}");
    }
    let list = queue(&site, &["list", "all", "--sender", "@a.test"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("<s@a.test> -> <u4@two.test>"), "{list}");
    assert_eq!(queue(&site, &["list", "--limit", "2"]).lines().count(), 2);
    let value = json(&site, &["list", "two.test", "--sender", "<>"]);
    assert!(value.contains("\"recipient\":\"u5@two.test\"") && value.contains("\"sender\":\"\""), "{value}");
}

#[test]
fn bad_filters_are_refused_with_what_would_be_right() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let _server = resting(&site);
    let refused = |words: &[&str]| {
        let output = site.tool(&[&["queue", "--config", "posthaste.toml"], words].concat());
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["fail"]).contains("say which mail"), "{}", refused(&["fail"]));
    assert!(refused(&["fail", "all", "--older", "soon"]).contains("write a duration such as 20m"));
    assert!(refused(&["count", "all", "--header", "a b"]).contains("`a b` is no header"));
    assert!(refused(&["count", "all", "--sender", "a@b@c d"]).contains("is no address"));
    assert!(refused(&["rebind", "all", "--to", "none"]).contains("no [binding.none]"));
    assert!(refused(&["reroute", "all", "--to", "a b"]).contains("is no domain"));
    assert!(refused(&["suspend", "all", "--sender", "s@a.test"]).contains("about whole queues"));
    assert!(refused(&["fail", "all", "--reply", "250 ok"]).contains("write `550 5.7.1 why`"));
    let console = site.tool(&["console", "--config", "posthaste.toml", "queue", "fail", "color=red"]);
    assert!(String::from_utf8_lossy(&console.stderr).contains("`color=` is no filter"), "{console:?}");
    assert_eq!(count(&site, &["all"]), 5, "nothing has happened");
}

#[test]
fn failed_mail_bounces_unless_quiet_and_is_gone_for_good() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = resting(&site);
    let dry = queue(&site, &["fail", "one.test", "--dry-run"]);
    assert!(dry.contains("3 of 3 recipients would be failed"), "{dry}");
    assert_eq!(count(&site, &["all"]), 5);
    let quiet = json(&site, &["fail", "all", "--sender", "t@b.test", "--quiet"]);
    assert!(quiet.contains("\"touched\":1") && quiet.contains("\"dry_run\":false"), "{quiet}");
    let loud = queue(&site, &["fail", "all", "--header", "X-Stream: news", "--reply", "550 5.7.1 not this one"]);
    assert!(loud.contains("1 of 1 recipients failed"), "{loud}");
    assert!(audited(&site, "fail quiet@all sender=t\\@b.test@1@1"), "{}", site.log("mainlog.ec"));
    assert!(within(PATIENCE, || site.log("mainlog.ec").contains("550 5.7.1 not this one")));
    // The report to the sender of the second waits, too.
    assert!(within(PATIENCE, || count(&site, &["all", "--recipient", "s@a.test"]) == 1));
    assert_eq!(count(&site, &["all", "--recipient", "t@b.test"]), 0, "quiet is quiet");
    server.stop();
    let server = site.start();
    assert!(within(PATIENCE, || recipients(&sink).len() == 4), "{:?}", recipients(&sink));
    std::thread::sleep(Duration::from_millis(300));
    let arrived = recipients(&sink).join(" ");
    assert!(!arrived.contains("u1@") && !arrived.contains("u3@") && arrived.contains("<s@a.test>"), "{arrived}");
    drop(server);
}

#[test]
fn delayed_mail_waits_over_a_restart_and_flushed_mail_goes() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = resting(&site);
    let dry = queue(&site, &["delay", "one.test", "--for", "2h", "--dry-run"]);
    assert!(dry.contains("3 of 3 recipients would be delayed"), "{dry}");
    assert!(queue(&site, &["delay", "one.test", "--for", "2h"]).contains("3 of 3 recipients delayed"));
    assert!(audited(&site, "delay@one.test@3@3"));
    server.stop();
    let _server = site.start();
    assert!(within(PATIENCE, || recipients(&sink).len() == 2), "{:?}", recipients(&sink));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((recipients(&sink).len(), count(&site, &["one.test"])), (2, 3));
    let dry = json(&site, &["flush", "all", "--sender", "t@b.test", "--dry-run"]);
    assert!(dry.contains("\"matched\":1,\"operation\":\"flush\"") && dry.contains("\"touched\":1"), "{dry}");
    queue(&site, &["flush", "all", "--sender", "t@b.test"]);
    assert!(within(PATIENCE, || recipients(&sink).len() == 3), "{:?}", recipients(&sink));
    assert!(recipients(&sink).join(" ").contains("u3@one.test"));
    assert!(queue(&site, &["flush", "one.test", "--dry-run"]).contains("2 delayed recipients"));
    assert!(queue(&site, &["flush", "one.test"]).contains("2 delayed recipients"));
    assert!(within(PATIENCE, || recipients(&sink).len() == 5), "{:?}", recipients(&sink));
    assert!(audited(&site, "flush@one.test@2@2"));
}

#[test]
fn rebound_mail_leaves_by_the_other_binding_also_after_a_restart() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = resting(&site);
    let dry = queue(&site, &["rebind", "two.test", "--to", "spare", "--dry-run"]);
    assert!(dry.contains("2 of 2 recipients would be rebound"), "{dry}");
    assert_eq!(count(&site, &["all", "spare"]), 0);
    queue(&site, &["rebind", "two.test", "--to", "spare"]);
    assert!(queue(&site, &["rebind", "all", "--header", "X-Stream", "--to", "spare"]).contains("1 of 1"));
    assert_eq!((count(&site, &["all", "spare"]), count(&site, &["all", "default"])), (3, 2));
    assert!(audited(&site, "rebind to=spare@two.test@2@2"));
    // What comes later is not meant.
    send(&server, "s@a.test", "u6@two.test", "");
    assert_eq!((count(&site, &["all", "spare"]), count(&site, &["two.test", "default"])), (3, 1));
    server.kill();
    let _server = site.start();
    assert!(within(PATIENCE, || recipients(&sink).len() == 6), "{:?}", recipients(&sink));
    let spare = |arrival: &acceptance::Arrival| arrival.peer.to_string() == "127.0.4.1";
    let mut by_spare: Vec<String> =
        sink.arrivals().into_iter().filter(spare).map(|arrival| arrival.recipients.join(" ")).collect();
    by_spare.sort();
    assert_eq!(by_spare.len(), 3, "{by_spare:?}");
    assert!(by_spare[0].contains("u1@") && by_spare[1].contains("u4@") && by_spare[2].contains("u5@"), "{by_spare:?}");
}

#[test]
fn rerouted_mail_goes_to_the_other_domains_hosts_also_after_a_restart() {
    let (sink, other) = (Sink::start(Manner::default()), Sink::start(Manner::default()));
    let site = site(&sink, &format!("[domain.\"other.test\"]\nroute = \"smtp://127.0.0.1:{}\"\n", other.port));
    let server = resting(&site);
    let dry = queue(&site, &["reroute", "one.test", "--sender", "@a.test", "--to", "other.test", "--dry-run"]);
    assert!(dry.contains("2 of 2 recipients would be rerouted"), "{dry}");
    queue(&site, &["reroute", "one.test", "--sender", "@a.test", "--to", "other.test"]);
    assert_eq!((count(&site, &["other.test"]), count(&site, &["one.test"])), (2, 1));
    // One of them goes back to where the configuration sends it.
    assert!(queue(&site, &["reroute", "other.test", "--tenant", "acme"]).contains("1 of 1"));
    assert_eq!((count(&site, &["other.test"]), count(&site, &["one.test"])), (1, 2));
    server.kill();
    let _server = site.start();
    assert!(
        within(PATIENCE, || recipients(&sink).len() == 4 && recipients(&other).len() == 1),
        "{:?}",
        recipients(&sink)
    );
    assert_eq!(recipients(&other), ["RCPT TO:<u1@one.test>"]);
}

#[test]
fn exported_mail_is_copied_and_can_be_imported_elsewhere() {
    let sink = Sink::start(Manner::default());
    let site_one = site(&sink, "");
    let server = resting(&site_one);
    let folder = site_one.path("export");
    let to = folder.to_str().unwrap();
    assert!(queue(&site_one, &["export", "one.test", "--to", to, "--dry-run"]).contains("3 of 3"));
    assert!(!folder.exists());
    assert!(queue(&site_one, &["export", "one.test", "--to", to]).contains("3 of 3 recipients exported"));
    let again = site_one.tool(&["queue", "--config", "posthaste.toml", "export", "all", "--to", to]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"), "{again:?}");
    assert_eq!(count(&site_one, &["all"]), 5, "a copy");
    drop(server);
    let elsewhere = site(&sink, "");
    let imported = elsewhere.tool_ok(&["spool", "--config", "posthaste.toml", "import", to]);
    assert!(imported.contains("3 messages imported"), "{imported}");
    let _server = elsewhere.start();
    assert!(within(PATIENCE, || recipients(&sink).len() == 3), "{:?}", recipients(&sink));
    assert!(recipients(&sink).join(" ").contains("u2@one.test"));
}

#[test]
fn suspending_and_resuming_can_be_tried() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let _server = resting(&site);
    assert!(queue(&site, &["suspend", "two.test", "--dry-run"]).contains("1 queues, 2 recipients"));
    assert!(!queue(&site, &["suspensions"]).contains("two.test"));
    assert!(json(&site, &["resume", "all", "--dry-run"]).contains("\"suspensions\":1"));
    assert_eq!(sink.sessions(), 0);
    assert!(queue(&site, &["resume", "all"]).contains("1 suspensions ended"));
    assert!(audited(&site, "resume@all@1@1") && audited(&site, "suspend@all@0@0"));
    assert!(within(PATIENCE, || recipients(&sink).len() == 5), "{:?}", recipients(&sink));
}
