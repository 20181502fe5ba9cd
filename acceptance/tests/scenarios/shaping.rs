//! Traffic shaping of the running server: what next hops reply decides how much mail leaves, for how long, and who says so.

use acceptance::{DnsServer, Manner, Server, Sink, Site, Zone, own_ip, within};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for a decision to come to every queue.
const SOON: Duration = Duration::from_millis(1500);

/// A next hop that is well, one on the same host that refuses everything, and a third on another host.
struct Scene {
    well: Sink,
    elsewhere: Sink,
    /// Lives as long as the scene.
    _refusing: Sink,
    site: Site,
}

impl Scene {
    /// `reply` is what every recipient at `bad.test` gets; `more` are options of all domains.
    fn new(reply: &'static str, rules: &str, shaping: &str, more: &str, manner: Manner) -> Self {
        let well = Sink::start(manner);
        let refusing = Sink::start(Manner { replies: vec![("RCPT TO:", reply)], ..Manner::default() });
        let elsewhere = Sink::start_on("127.0.0.2:0", Manner::default());
        let site = Site::new(&format!(
            "[shaping]\nrules = [\"rules.toml\"]\n{shaping}\n[domain.\"*\"]\n{more}\nroute = \"smtp://127.0.0.1:{}\"\n\
             [domain.\"bad.test\"]\nroute = \"smtp://127.0.0.1:{}\"\n\
             [domain.\"elsewhere.test\"]\nroute = \"smtp://127.0.0.2:{}\"\n",
            well.port, refusing.port, elsewhere.port
        ));
        std::fs::write(site.path("rules.toml"), rules).unwrap();
        Self { well, elsewhere, _refusing: refusing, site }
    }

    fn audit(&self) -> String {
        self.site.log("shapinglog.ec")
    }

    /// Sends the message whose reply a rule waits for, and waits for the row of the decision.
    fn provoke(&self, server: &Server, row: &str) {
        send(server, &["trigger@bad.test"]);
        assert!(within(PATIENCE, || self.audit().contains(row)), "{row} is missing in: {}", self.audit());
    }

    fn ask(&self, words: &[&str]) -> String {
        self.site.tool_ok(&[words, &["--config", "posthaste.toml"]].concat())
    }
}

fn send(server: &Server, to: &[&str]) {
    let mut client = server.connect();
    client.hello();
    for recipient in to {
        assert_eq!(client.message("s@a.test", &[recipient], "Subject: a\r\n\r\na").unwrap().0, 250);
    }
}

fn send_many(server: &Server, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("u{n}@good.test")).collect();
    send(server, &names.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What a rule does when `bad.test` is told that there are too many.
fn rule(name: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\ndomains = [\"bad.test\"]\ntext = 'too many'\n{action}\n")
}

const TOO_MANY: &str = "451 4.7.1 too many of you";

#[test]
fn a_reply_suspends_a_host_until_an_operator_clears_it() {
    let scene = Scene::new(TOO_MANY, &rule("pause", "suspend = \"1h\""), "", "", Manner::default());
    let server = scene.site.start();
    assert_eq!(scene.ask(&["shaping", "list"]).trim(), "");
    scene.provoke(&server, "@S@applied@pause@binding-site@127.0.0.1@default@@1@@bad.test@");
    std::thread::sleep(SOON);
    send(&server, &["u@good.test", "u@elsewhere.test"]);
    assert!(within(PATIENCE, || scene.elsewhere.unique() == 1), "only what is named rests");
    std::thread::sleep(SOON);
    assert_eq!(scene.well.sessions(), 0, "{}", scene.site.log("mainlog.ec"));
    let why = scene.ask(&["queue", "why", "good.test"]);
    assert!(why.contains("holds it: traffic shaping lets it rest, until "), "{why}");
    assert!(why.contains("traffic shaping: binding-site default 127.0.0.1: suspended until "), "{why}");
    assert!(why.contains("by rule pause"), "{why}");
    let list = scene.ask(&["shaping", "list", "--json"]);
    assert!(list.contains("\"rule\":\"pause\"") && list.contains("\"effect\":\"applied\""), "{list}");
    let refused = scene.site.tool(&["shaping", "clear", "127.0.0.9", "--config", "posthaste.toml"]);
    assert!(!refused.status.success());
    assert!(scene.ask(&["shaping", "clear", "127.0.0.1", "default"]).contains("binding-site default 127.0.0.1"));
    assert!(within(PATIENCE, || scene.well.unique() == 1), "what is cleared leaves");
    assert_eq!(scene.ask(&["shaping", "list"]).trim(), "");
    assert!(within(PATIENCE, || scene.audit().contains("@S@applied@@binding-site@127.0.0.1@default@@@@@@@lifted@")));
}

#[test]
fn a_reply_takes_connections_away_from_those_that_have_them() {
    let manner = Manner { delay_content: Duration::from_millis(400), ..Manner::default() };
    let action = "connections = { to = 1, for = \"1h\" }";
    let options = "connection_ramp = \"straight\"\nmax_connections = 8";
    let scene = Scene::new(TOO_MANY, &rule("fewer", action), "", options, manner);
    let server = scene.site.start();
    send_many(&server, 80);
    assert!(within(PATIENCE, || scene.well.open() >= 6), "{} are open", scene.well.open());
    scene.provoke(&server, "connections as configured to 1 until ");
    assert!(within(Duration::from_secs(5), || scene.well.open() <= 1), "{} are open", scene.well.open());
    let before = scene.well.unique();
    assert!(before < 70, "{before} had left already");
    let began = Instant::now();
    assert!(within(PATIENCE, || scene.well.unique() > before + 4), "the one goes on");
    let each = began.elapsed() / 5;
    assert!(each >= Duration::from_millis(300), "one after the other takes 400 ms each, not {each:?}");
    let why = scene.ask(&["queue", "why", "good.test"]);
    assert!(why.contains("as many connections as traffic shaping allows: 1"), "{why}");
}

#[test]
fn a_reply_slows_a_host_down() {
    let action = "rate = { to = \"2/1s\", for = \"1h\" }";
    let scene = Scene::new(TOO_MANY, &rule("slower", action), "", "", Manner::default());
    let server = scene.site.start();
    scene.provoke(&server, "rate as configured to 2/1s until ");
    std::thread::sleep(SOON);
    let began = Instant::now();
    send_many(&server, 12);
    assert!(within(PATIENCE, || scene.well.unique() > 2));
    let why = scene.ask(&["queue", "why", "good.test"]);
    assert!(why.contains("rate of traffic shaping, next transaction at "), "{why}");
    assert!(within(PATIENCE, || scene.well.unique() == 12), "{} arrived", scene.well.unique());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(4500), "twelve at two a second took {took:?}");
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let rules = rule("pause", "suspend = \"1h\"\nconnections = { to = 1, for = \"1h\" }");
    let scene = Scene::new(TOO_MANY, &rules, "mode = \"dry-run\"", "", Manner::default());
    let server = scene.site.start();
    scene.provoke(&server, "@S@dry-run@pause@binding-site@127.0.0.1@default@");
    assert!(scene.audit().contains("@connections as configured to 1 until "), "{}", scene.audit());
    std::thread::sleep(SOON);
    send(&server, &["u@good.test"]);
    assert!(within(Duration::from_secs(5), || scene.well.unique() == 1), "nothing is done");
    let list = scene.ask(&["shaping", "list"]);
    assert!(list.lines().count() == 2 && list.lines().all(|line| line.ends_with(", dry run")), "{list}");
}

#[test]
fn a_suspension_outlives_a_kill() {
    let scene = Scene::new(TOO_MANY, &rule("pause", "suspend = \"1h\""), "", "", Manner::default());
    let server = scene.site.start();
    scene.provoke(&server, "@S@applied@pause@");
    // A decision is on disk a second after the last write.
    std::thread::sleep(Duration::from_millis(2500));
    server.kill();
    let server = scene.site.start();
    send(&server, &["u@good.test", "u@elsewhere.test"]);
    assert!(within(PATIENCE, || scene.elsewhere.unique() == 1));
    std::thread::sleep(SOON);
    assert_eq!(scene.well.sessions(), 0);
    assert!(scene.ask(&["queue", "why", "good.test"]).contains("by rule pause"));
    assert!(server.stop().success());
    let server = scene.site.start();
    assert!(scene.ask(&["shaping", "list"]).contains("suspended until "));
    drop(server);
    std::fs::write(scene.site.path("spool/shaping.state"), "PHSHAPE\0 and then nonsense").unwrap();
    let _server = scene.site.start();
    assert!(within(PATIENCE, || scene.well.unique() == 1), "a damaged state holds nothing up");
    assert!(scene.site.path("spool/shaping.state.damaged").exists());
}

#[test]
fn a_reply_is_taken_for_another_kind() {
    let rules =
        "[[rule]]\nname = \"not-for-good\"\ndomains = [\"bad.test\"]\ntext = 'slow start'\nrewrite = \"transient\"\n";
    let scene = Scene::new("550 5.7.1 slow start, please", rules, "", "retry_interval = \"1s\"", Manner::default());
    let server = scene.site.start();
    scene.provoke(&server, "@S@applied@not-for-good@");
    let rows = |kind: &str| scene.site.rows(kind).len();
    assert!(within(PATIENCE, || rows("T") >= 2), "it is tried again: {}", scene.site.log("mainlog.ec"));
    assert_eq!(rows("P"), 0);
}

#[test]
fn a_young_address_sends_what_its_day_allows() {
    let rules = "[[rule]]\nname = \"young\"\nwarm_up = { days = [3, 1000] }\n";
    let scene = Scene::new(TOO_MANY, rules, "", "", Manner::default());
    let server = scene.site.start();
    send_many(&server, 10);
    assert!(within(PATIENCE, || scene.audit().contains("warm-up day 1: 3 messages reached")), "{}", scene.audit());
    std::thread::sleep(SOON);
    assert_eq!(scene.well.unique(), 3);
    let why = scene.ask(&["queue", "why", "good.test"]);
    assert!(why.contains("traffic shaping lets it rest") && why.contains("warm-up 0 messages left"), "{why}");
    assert!(server.stop().success());
    let server = scene.site.start();
    std::thread::sleep(SOON);
    assert_eq!(scene.well.unique(), 3, "the day goes on where it was");
    drop(server);

    let scene = Scene::new(TOO_MANY, rules, "in_use_since = [\"default 2020-01-01\"]", "", Manner::default());
    let server = scene.site.start();
    send_many(&server, 10);
    assert!(within(PATIENCE, || scene.well.unique() == 10), "an address that is years old needs no warm-up");
}

#[test]
fn rules_that_are_not_sound_are_refused_with_their_place() {
    let scene = Scene::new(TOO_MANY, &rule("pause", "suspend = \"1h\""), "", "", Manner::default());
    let check = |rules: &str| {
        std::fs::write(scene.site.path("rules.toml"), rules).unwrap();
        let output = scene.site.tool(&["check-config", "posthaste.toml"]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = check("[[rule]]\nname = \"all\"\ncodes = [\"4xx\"]\nsuspend = \"1h\"\n");
    assert!(error.contains("rules.toml:1:") && error.contains("it would suspend every domain"), "{error}");
    let error = check("[[rule]]\nname = \"all\"\ncodes = [\"4xx\"]\nsuspent = \"1h\"\n");
    assert!(error.contains("rules.toml:4:1") && error.contains("did you mean `suspend`?"), "{error}");
    std::fs::write(scene.site.path("rules.toml"), rule("pause", "suspend = \"1h\"")).unwrap();
    let server = scene.site.start();
    std::fs::write(scene.site.path("rules.toml"), "[[rule]]\nnome = 1\n").unwrap();
    let reload = scene.site.tool(&["console", "--config", "posthaste.toml", "reload"]);
    assert!(!reload.status.success());
    scene.provoke(&server, "@S@applied@pause@");
}

#[test]
fn domains_with_the_same_exchangers_are_one_site() {
    let refusing = Sink::start_on(
        &format!("{}:0", own_ip(1)),
        Manner { replies: vec![("RCPT TO:<trigger@", TOO_MANY)], ..Manner::default() },
    );
    let records = format!("one MX 10 hop\ntwo MX 10 hop\nhop A {}", own_ip(1));
    let dns = DnsServer::start(&[Zone { name: "names.test", records: &records }]);
    let site = Site::new(&format!(
        "[resolver]\nservers = [\"{}\"]\n[shaping]\nrules = [\"rules.toml\"]\n[domain.\"*\"]\nroute = \"mx\"\nport = {}\n",
        dns.address(),
        refusing.port
    ));
    std::fs::write(
        site.path("rules.toml"),
        "[[rule]]\nname = \"pause\"\nsites = [\"hop.names.test\"]\ntext = 'too many'\nsuspend = \"1h\"\n",
    )
    .unwrap();
    let server = site.start();
    send(&server, &["u@two.names.test"]);
    assert!(within(PATIENCE, || refusing.unique() == 1));
    send(&server, &["trigger@one.names.test"]);
    let row = "@S@applied@pause@binding-site@hop.names.test@default@@1@@one.names.test@";
    assert!(within(PATIENCE, || site.log("shapinglog.ec").contains(row)), "{}", site.log("shapinglog.ec"));
    std::thread::sleep(SOON);
    send(&server, &["v@two.names.test"]);
    std::thread::sleep(SOON);
    assert_eq!(refusing.unique(), 1, "the other domain of the site rests, too");
    let clear = site.tool_ok(&["shaping", "clear", "one.names.test", "--config", "posthaste.toml"]);
    assert!(clear.contains("hop.names.test"), "{clear}");
    assert!(within(PATIENCE, || refusing.unique() == 2), "what is cleared leaves");
}
