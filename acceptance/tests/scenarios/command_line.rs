//! The command line, offline and against a running server.

use acceptance::{Server, Site};

fn config(site: &Site) -> String {
    site.config().display().to_string()
}

fn holding(messages: usize) -> (Site, Server) {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    for n in 0..messages {
        let content = format!("Subject: number {n}\r\n\r\nbody {n}");
        assert_eq!(client.message("s@a.test", &[&format!("u{n}@b.test")], &content).unwrap().0, 250);
    }
    (site, server)
}

#[test]
fn a_wrong_configuration_is_explained_with_its_place() {
    let site = Site::new("");
    site.tool(&["--version"]);
    let file = site.path("wrong.toml");
    std::fs::write(&file, "[server]\nhostname = \"mx.example.org\"\nhostnme = \"x\"\n[listener.mx]\nbind = [\"127.0.0.1:25\"]\nmax_sessions = \"many\"\n").unwrap();
    let output = site.tool(&["check-config", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(":3:") && text.contains("hostname"), "{text}");
    assert!(text.contains(":6:") && text.contains("max_sessions"), "{text}");
    std::fs::write(&file, "[server]\nhostname = \"mx.example.org\"\n").unwrap();
    assert!(site.tool(&["check-config", file.to_str().unwrap()]).status.success());
}

#[test]
fn show_config_names_the_scope_of_each_value() {
    let site = Site::new("[domain.\"*\"]\nmax_connections = 7\n[domain.\"b.test\"]\nretry_interval = \"5m\"\n");
    site.tool(&["--version"]);
    let text = site.tool_ok(&["show-config", &config(&site), "domain.b.test"]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("max_connections").contains('7') && line("max_connections").contains("[domain.\"*\"]"), "{text}");
    assert!(line("retry_interval").contains("5m") && line("retry_interval").contains("[domain.\"b.test\"]"), "{text}");
    assert!(line("idle_timeout").contains("default"), "{text}");
}

#[test]
fn send_queue_and_spool_agree() {
    let (site, server) = holding(2);
    let target = format!("127.0.0.1:{}", site.port);
    let said =
        site.tool_ok(&["send", "--to-server", &target, "--from", "me@a.test", "--to", "u2@c.test", "--text", "hello"]);
    assert!(said.starts_with("250"), "{said}");
    let summary = site.tool_ok(&["queue", "summary", "--config", &config(&site)]);
    assert!(summary.contains("hold:") && summary.contains("held"), "{summary}");
    let rows = site.tool_ok(&["queue", "show", "--config", &config(&site), "--json"]);
    assert_eq!(rows.matches("full_id").count(), 3, "{rows}");
    let list = site.tool_ok(&["spool", "list", "--config", &config(&site), "--json"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    for recipient in ["u0@b.test", "u1@b.test", "u2@c.test"] {
        assert!(list.contains(recipient), "{list}");
    }
    let id = site.tool_ok(&["spool", "list", "--config", &config(&site)]);
    let id = id.lines().find(|line| line.contains("u1@b.test")).unwrap().split_whitespace().next().unwrap().to_owned();
    let message = site.tool_ok(&["spool", "cat", &id, "--config", &config(&site)]);
    assert!(message.contains("Subject: number 1\r\n") && message.contains("body 1"), "{message}");
    let check = site.tool_ok(&["spool", "check", "--config", &config(&site)]);
    assert!(check.contains('3'), "{check}");
    assert!(server.stop().success());
}

#[test]
fn export_and_import_carry_a_spool_over() {
    let (site, server) = holding(3);
    let folder = site.path("export").display().to_string();
    site.tool_ok(&["spool", "export", &folder, "--config", &config(&site)]);
    assert!(server.stop().success());
    let other = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    other.tool(&["--version"]);
    other.tool_ok(&["spool", "import", &folder, "--config", &config(&other)]);
    let list = other.tool_ok(&["spool", "list", "--config", &config(&other)]);
    assert_eq!(list.lines().count(), 3, "{list}");
    let server = other.start();
    let rows = other.tool_ok(&["queue", "show", "--config", &config(&other), "--json"]);
    assert_eq!(rows.matches("full_id").count(), 3, "{rows}");
    drop(server);
}

#[test]
fn two_servers_do_not_share_a_port() {
    let first = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let _server = first.start();
    let mut second = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    second.port = first.port;
    second.tool(&["--version"]);
    let output = second.tool(&["run", "--config", &config(&second)]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("[listener.mx] cannot listen on") && text.contains("in use"), "{text}");
}

#[test]
fn two_servers_do_not_share_a_spool_and_a_missing_server_is_named() {
    let (site, server) = holding(1);
    let second = site.tool(&["run", "--config", &config(&site)]);
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("in use"), "{text}");
    server.kill();
    let gone = site.tool(&["queue", "summary", "--config", &config(&site)]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("posthaste run"), "{:?}", gone.stderr);
}
