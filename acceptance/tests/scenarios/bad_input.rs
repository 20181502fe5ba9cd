//! Hostile and broken clients: each gets a clear reply, costs bounded memory, and harms nobody else.

use acceptance::{Client, Server, Site, Swaks, within};
use std::time::Duration;

fn holding() -> (Site, Server) {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let server = site.start();
    (site, server)
}

/// Resident memory of the process, MiB.
fn resident_mib(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn still_serves(server: &Server) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message("s@a.test", &["u@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
}

#[test]
fn swaks_gets_a_message_in_and_no_relay_from_elsewhere() {
    let (site, _server) = holding();
    let sent = Swaks::run(site.port, &["--from", "s@a.test", "--to", "u@b.test", "--h-Subject", "swaks"]);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
    let pipelined = Swaks::run(site.port, &["--from", "s@a.test", "--to", "u@b.test", "--pipeline"]);
    assert!(pipelined.status.success(), "{}", String::from_utf8_lossy(&pipelined.stdout));
    let closed = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n").listener("relay_domains = [\"own.test\"]\n");
    let _server = closed.start();
    let refused = Swaks::run(closed.port, &["--from", "s@a.test", "--to", "u@elsewhere.test"]);
    assert_eq!(refused.status.code(), Some(24), "{}", String::from_utf8_lossy(&refused.stdout));
    let own = Swaks::run(closed.port, &["--from", "s@a.test", "--to", "u@own.test"]);
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stdout));
}

#[test]
fn eight_bit_and_nul_in_commands() {
    let (_site, server) = holding();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s\u{e4}@a.test>", 553);
    client.send(b"MAIL FROM:<s\0@a.test>\r\n");
    let (code, _) = client.reply().unwrap();
    assert!((500..=501).contains(&code) || code == 553, "{code}");
    client.send(b"\xff\xfe\r\n");
    assert_eq!(client.reply().unwrap().0, 500);
    client.command("NOOP", 250);
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let (_site, server) = holding();
    let before = resident_mib(&server);
    let mut client = server.connect();
    client.hello();
    let chunk = vec![b'A'; 1 << 20];
    let mut sent = 0;
    // A gigabyte would be taken as long as the server reads; it hangs up long before.
    while sent < 1024 && client.try_send(&chunk) {
        sent += 1;
    }
    assert!(sent < 1024, "the server took a line of a gibibyte");
    assert!(resident_mib(&server) < before + 32, "{} MiB, {before} before", resident_mib(&server));
    still_serves(&server);
}

#[test]
fn a_hundred_thousand_recipients() {
    let (_site, server) = holding();
    let before = resident_mib(&server);
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    let (mut accepted, mut refused) = (0, 0);
    'all: for batch in 0..1000 {
        let lines: String = (0..100).map(|n| format!("RCPT TO:<u{batch}.{n}@b.test>\r\n")).collect();
        if !client.try_send(lines.as_bytes()) {
            break;
        }
        for _ in 0..100 {
            match client.reply() {
                Some((250, _)) => accepted += 1,
                Some((452, _)) => refused += 1,
                _ => break 'all,
            }
        }
    }
    assert_eq!(accepted, 1000, "the limit's default");
    assert!(refused > 0);
    assert!(resident_mib(&server) < before + 32);
    still_serves(&server);
}

#[test]
fn smuggled_ends_of_data_end_nothing() {
    let forms = [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\r.\r\n",
        "\r\n\0.\r\n",
        "\r\r\n.\r\r\n",
    ];
    let (_site, server) = holding();
    for form in forms {
        let mut client = server.connect();
        client.hello();
        client.command("MAIL FROM:<s@a.test>", 250);
        client.command("RCPT TO:<u@b.test>", 250);
        client.command("DATA", 354);
        client.send(format!("Subject: x\r\n\r\nbody{form}MAIL FROM:<evil@a.test>\r\nRCPT TO:<v@b.test>\r\n"));
        // One reply, to the real end; nothing behind the false end was run as a command.
        client.send("\r\n.\r\n");
        let (code, text) = client.reply().unwrap();
        assert!(code == 250 || (500..600).contains(&code), "{form:?}: {text}");
        client.command("NOOP", 250);
    }
}

#[test]
fn bdat_with_wrong_sizes() {
    let (_site, server) = holding();
    for line in ["BDAT", "BDAT -1", "BDAT x", "BDAT 99999999999999999999999", "BDAT 1 FIRST"] {
        let mut client = server.connect();
        client.hello();
        client.command("MAIL FROM:<s@a.test>", 250);
        client.command("RCPT TO:<u@b.test>", 250);
        client.send(format!("{line}\r\n"));
        let (code, text) = client.reply().unwrap();
        assert!((500..=555).contains(&code), "{line}: {text}");
    }
    let mut client = server.connect();
    client.hello();
    // A chunk of a refused transaction is consumed, not run.
    client.send("BDAT 10\r\nRSET\r\nQUITNOOP\r\n");
    let first = client.reply().unwrap().0;
    assert_eq!(first, 503);
    assert_eq!(client.reply().unwrap().0, 250);
    still_serves(&server);
}

#[test]
fn half_closed_clients_and_half_messages() {
    let (site, server) = holding();
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    client.command("RCPT TO:<half@b.test>", 250);
    client.command("DATA", 354);
    client.send("Subject: half\r\n\r\nno end");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.closed();
    let mut client = server.connect();
    client.hello();
    // Everything sent at once, then our side closed: all replies must still come.
    client.send("MAIL FROM:<s@a.test>\r\nRCPT TO:<whole@b.test>\r\nDATA\r\n");
    client.expect(250);
    client.expect(250);
    client.expect(354);
    client.send("Subject: whole\r\n\r\nx\r\n.\r\nQUIT\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.expect(250);
    client.expect(221);
    let list = site.tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()]);
    assert!(list.contains("whole@b.test"), "{list}");
    assert!(!list.contains("half@b.test"), "a half message was kept: {list}");
    drop(server);
}

#[test]
fn a_client_that_reads_nothing_is_left_alone_and_then_cut_off() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n")
        .listener("relay_from = [\"127.0.0.0/8\"]\nwrite_timeout = \"2s\"\nmax_idle_commands = 1000000\n");
    let server = site.start();
    let before = resident_mib(&server);
    let mut client = Client::connect(site.port);
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let commands = "NOOP\r\n".repeat(10_000);
    let mut blocked = false;
    for _ in 0..2000 {
        if !client.try_send(commands.as_bytes()) {
            blocked = true;
            break;
        }
    }
    assert!(blocked, "the server took 120 MB of commands whose replies nobody reads");
    assert!(resident_mib(&server) < before + 32);
    still_serves(&server);
    // In the end the session is given up.
    assert!(within(Duration::from_secs(20), || !client.try_send(b"NOOP\r\n")));
}

#[test]
fn other_protocols_are_turned_away() {
    let (_site, server) = holding();
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (code, _) = client.reply().unwrap();
    assert!([421, 500, 554].contains(&code), "{code}");
    assert!(client.closed());
    let mut client = server.connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    client.send([0; 64]);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.closed());
    still_serves(&server);
}

#[test]
fn a_gigabyte_message_costs_a_few_megabytes() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n")
        .listener("relay_from = [\"127.0.0.0/8\"]\nmax_message_size = \"2GiB\"\n");
    let server = site.start();
    still_serves(&server);
    let before = resident_mib(&server);
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    client.command("RCPT TO:<big@b.test>", 250);
    client.command("DATA", 354);
    client.send("Subject: big\r\n\r\n");
    let line = format!("{}\r\n", "z".repeat(1022));
    let block = line.repeat(1024);
    let mut peak = 0;
    for n in 0..1024 {
        client.send(&block);
        if n % 64 == 0 {
            peak = peak.max(resident_mib(&server));
        }
    }
    client.send(".\r\n");
    assert_eq!(client.reply().unwrap().0, 250);
    assert!(peak < before + 48, "{peak} MiB at the peak, {before} before");
    let list = site.tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()]);
    assert!(list.contains("big@b.test"), "{list}");
}
