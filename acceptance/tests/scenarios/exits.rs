//! Ways out through proxies: real SOCKS and HAProxy servers before the next hop, and what becomes of mail without them.

use acceptance::{Manner, Running, Server, Sink, Site, free_port, within};
use std::collections::HashSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program of a Debian package that listens on this port.
fn listening(command: &mut Command, port: u16) -> Running {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let running = Running(child.expect("haproxy and microsocks are installed: run `cargo xtask test` as root"));
    assert!(within(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()), "nothing listens");
    running
}

/// A SOCKS server whose own connections leave from `source`.
fn socks(port: u16, source: &str, more: &[&str]) -> Running {
    let port_text = port.to_string();
    let mut command = Command::new("microsocks");
    listening(command.args(["-i", "127.0.0.1", "-p", &port_text, "-b", source]).args(more), port)
}

/// An HAProxy that connects from and to the addresses of the header.
fn haproxy(port: u16, folder: &Path) -> Running {
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global\n    maxconn 200\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    \
         timeout server 60s\nlisten exit\n    bind 127.0.0.1:{port} accept-proxy\n    \
         source 0.0.0.0 usesrc clientip\n    server any 0.0.0.0:0\n"
    );
    std::fs::write(&config, text).unwrap();
    listening(Command::new("haproxy").arg("-db").arg("-f").arg(&config), port)
}

fn send(server: &Server, count: usize) {
    let mut client = server.connect();
    client.hello();
    for n in 0..count {
        let to = format!("u{n}@near.test");
        assert_eq!(client.message("s@sender.test", &[&to], "Subject: x\r\n\r\nx").unwrap().0, 250);
    }
}

/// A site whose mail leaves through a proxy to a next hop on this port.
fn site(hop: u16, proxy: &str, more: &str) -> Site {
    Site::new(&format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{hop}\"\nmax_deliveries_per_connection = 1\nidle_timeout = \"0s\"\n\
         [binding.default]\negress_proxy = \"{proxy}\"\n{more}\n"
    ))
}

fn peers(sink: &Sink) -> HashSet<String> {
    sink.arrivals().iter().map(|arrival| arrival.peer.to_string()).collect()
}

fn why(site: &Site) -> String {
    site.tool_ok(&["queue", "--config", "posthaste.toml", "why", "near.test"])
}

#[test]
fn mail_leaves_through_a_socks_server_that_asks_for_a_password() {
    let (sink, port) = (Sink::start(Manner::default()), free_port());
    let _socks = socks(port, "127.0.21.1", &["-u", "mail", "-P", "p:ss"]);
    let site = site(sink.port, &format!("socks5://mail:p:ss@127.0.0.1:{port}"), "");
    let server = site.start();
    send(&server, 10);
    assert!(within(PATIENCE, || sink.unique() == 10), "{}", site.log("mainlog.ec"));
    assert_eq!(peers(&sink), HashSet::from(["127.0.21.1".to_owned()]), "nothing went another way");
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    let shown = site.tool_ok(&["show-config", "posthaste.toml", "binding.default"]);
    assert!(shown.contains("socks5://mail:***@") && !shown.contains("p:ss"), "{shown}");
}

#[test]
fn a_socks_server_that_refuses_us_is_no_fault_of_the_site() {
    let (sink, port) = (Sink::start(Manner::default()), free_port());
    let _socks = socks(port, "127.0.21.2", &["-u", "mail", "-P", "right"]);
    let mut site = site(sink.port, &format!("socks5://mail:wrong@127.0.0.1:{port}"), "");
    let server = site.start();
    send(&server, 3);
    assert!(within(PATIENCE, || why(&site).contains("refused user and password")), "{}", why(&site));
    assert!(why(&site).contains("the proxy of its binding cannot be used"), "{}", why(&site));
    assert!(why(&site).contains("egress_proxy of [binding.default]"), "{}", why(&site));
    assert_eq!((site.rows("T").len(), sink.sessions()), (0, 0), "{}", site.log("mainlog.ec"));
    // With the right password it goes on at once: nothing was held against the site.
    site.set_extra(&format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n[binding.default]\n\
         egress_proxy = \"socks5://mail:right@127.0.0.1:{port}\"\n",
        sink.port
    ));
    server.signal(rustix::process::Signal::HUP);
    assert!(within(PATIENCE, || sink.unique() == 3), "{}", why(&site));
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
}

#[test]
fn a_host_that_the_socks_server_cannot_reach_has_failed_itself() {
    let port = free_port();
    let _socks = socks(port, "127.0.21.3", &[]);
    let site = site(free_port(), &format!("socks5://127.0.0.1:{port}"), "");
    let server = site.start();
    send(&server, 1);
    assert!(within(PATIENCE, || site.rows("T").len() == 1), "{}", why(&site));
    let told = why(&site);
    assert!(told.contains("no MXs for this domain could be reached") && !told.contains("proxy"), "{told}");
    drop(server);
}

#[test]
fn mail_waits_for_a_proxy_that_is_down_and_leaves_when_it_is_up() {
    let (sink, port) = (Sink::start(Manner::default()), free_port());
    let site = site(sink.port, &format!("socks5://127.0.0.1:{port}"), "");
    let server = site.start();
    send(&server, 5);
    let told = format!("egress proxy 127.0.0.1:{port} cannot be used: connection failed");
    assert!(within(PATIENCE, || why(&site).contains(&told)), "{}", why(&site));
    assert_eq!(site.rows("T").len(), 0, "no attempt is counted: {}", site.log("mainlog.ec"));
    let _socks = socks(port, "127.0.21.4", &[]);
    assert!(within(PATIENCE, || sink.unique() == 5), "{}", why(&site));
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn a_proxy_that_says_nothing_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("socks5://{}", silent.local_addr().unwrap());
    let site = site(free_port(), &proxy, "egress_proxy_timeout = \"200ms\"");
    let server = site.start();
    send(&server, 1);
    assert!(within(PATIENCE, || why(&site).contains("no answer in time")), "{}", why(&site));
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn haproxy_is_told_from_where_and_to_whom() {
    let (sink, port) = (Sink::start(Manner::default()), free_port());
    let sources = "source = [\"127.0.22.1\", \"127.0.22.2\"]";
    let site = site(sink.port, &format!("haproxy://127.0.0.1:{port}"), sources);
    let _haproxy = haproxy(port, &site.path(""));
    let server = site.start();
    send(&server, 20);
    assert!(within(PATIENCE, || sink.unique() == 20), "{}", why(&site));
    let both = ["127.0.22.1", "127.0.22.2"].map(str::to_owned);
    assert_eq!(peers(&sink), HashSet::from(both), "the sources take turns at the exit");
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    drop(server);
}
