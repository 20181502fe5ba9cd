//! Behind a load balancer: the PROXY protocol before the greeting.

use acceptance::{Client, Server, Site, within};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn serving(more: &str) -> (Site, Server) {
    let listener = format!(
        "relay_from = [\"192.0.2.0/24\", \"2001:db8::/32\"]\nproxy_protocol = \"required\"\nproxy_timeout = \"1s\"\n{more}\n"
    );
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n[log.main]\nformat = \"ec\"\n").listener(&listener);
    let server = site.start();
    (site, server)
}

/// A header of version 2 (PROXY protocol, section 2.2).
fn version_2(family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.push(family);
    header.extend_from_slice(&(addresses.len() as u16).to_be_bytes());
    header.extend_from_slice(addresses);
    header
}

fn version_2_ipv4() -> Vec<u8> {
    version_2(0x11, &[192, 0, 2, 66, 198, 51, 100, 1, 0x13, 0x88, 0, 25])
}

fn version_2_ipv6() -> Vec<u8> {
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 7;
    addresses[16..20].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[31] = 1;
    addresses[32..].copy_from_slice(&[0x13, 0x88, 0, 25]);
    version_2(0x21, &addresses)
}

/// The address of the R row of this recipient.
fn logged(site: &Site, id: &str) -> Option<String> {
    let log = site.log("mainlog.ec");
    let rows = log.lines().map(|row| row.split('@').map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[4] == "R" && row[5] == id).map(|row| row[9].clone()).next()
}

#[test]
fn the_client_is_whom_the_header_names() {
    let (site, server) = serving("proxy_from = [\"127.0.0.0/8\"]");
    let headers = [
        ("one", b"PROXY TCP4 192.0.2.55 198.51.100.1 5000 25\r\n".to_vec(), "192.0.2.55"),
        ("six", b"PROXY TCP6 2001:db8::5 2001:db8::1 5000 25\r\n".to_vec(), "2001:db8::5"),
        ("two", version_2_ipv4(), "192.0.2.66"),
        ("twosix", version_2_ipv6(), "2001:db8::7"),
    ];
    for (id, header, address) in headers {
        let mut client = Client::connect(site.port);
        // In pieces: a header may be cut anywhere.
        let (first, second) = header.split_at(9);
        client.send(first);
        std::thread::sleep(Duration::from_millis(30));
        client.send(second);
        client.expect(220);
        client.hello();
        let content = "Subject: x\r\n\r\nx";
        assert_eq!(
            client.message("s@a.test", &[&format!("{id}@b.test")], content).unwrap().0,
            250,
            "{address} may relay"
        );
        assert!(within(PATIENCE, || logged(&site, id).is_some()), "{}", site.log("mainlog.ec"));
        assert_eq!(logged(&site, id).as_deref(), Some(address));
    }
    let mut elsewhere = Client::connect(site.port);
    elsewhere.send("PROXY TCP4 203.0.113.1 198.51.100.1 5000 25\r\n");
    elsewhere.expect(220);
    elsewhere.hello();
    elsewhere.command("MAIL FROM:<s@a.test>", 250);
    elsewhere.command("RCPT TO:<u@b.test>", 550);
    drop(server);
}

#[test]
fn a_missing_or_wrong_header_is_turned_away() {
    let (site, server) = serving("proxy_from = [\"127.0.0.0/8\"]");
    let wrong: [&[u8]; 6] = [
        b"EHLO client.test\r\n",
        b"PROXY TCP4 192.0.2.55 198.51.100.1 5000\r\n",
        b"PROXY TCP4 999.0.2.55 198.51.100.1 5000 25\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
        &[b'P'; 4096],
        // Silence: the header's time runs out.
        b"",
    ];
    for header in wrong {
        let mut client = Client::connect(site.port);
        client.try_send(header);
        let greeting = client.reply();
        assert!(greeting.is_none(), "{:?} was greeted: {greeting:?}", String::from_utf8_lossy(header));
    }
    let mut client = Client::connect(site.port);
    client.send("PROXY TCP4 192.0.2.55 198.51.100.1 5000 25\r\n");
    client.expect(220);
    drop(server);
}

#[test]
fn a_header_from_elsewhere_than_the_balancers_is_not_believed() {
    let (site, server) = serving("proxy_from = [\"127.0.0.9/32\"]");
    let mut client = Client::connect(site.port);
    client.try_send(b"PROXY TCP4 192.0.2.55 198.51.100.1 5000 25\r\n");
    assert!(client.reply().is_none());
    drop(server);
}

#[test]
fn a_check_of_the_balancer_itself_is_greeted() {
    let (site, server) = serving("proxy_from = [\"127.0.0.0/8\"]");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec()] {
        let mut client = Client::connect(site.port);
        client.send(header);
        client.expect(220);
    }
    drop(server);
}

#[test]
fn sessions_are_counted_to_the_clients_network_and_not_to_the_balancers() {
    let (site, server) =
        serving("proxy_from = [\"127.0.0.0/8\"]\nmax_sessions_per_network = 2\nnetwork_prefix_v4 = 24");
    let session = |address: &str| {
        let mut client = Client::connect(site.port);
        client.send(format!("PROXY TCP4 {address} 198.51.100.1 5000 25\r\n"));
        let code = client.reply().map(|(code, _)| code);
        (client, code)
    };
    let (_first, one) = session("192.0.2.1");
    let (_second, two) = session("192.0.2.200");
    let (_third, three) = session("192.0.2.3");
    let (_other, four) = session("192.0.3.1");
    assert_eq!([one, two, three, four], [Some(220), Some(220), Some(421), Some(220)]);
    drop(server);
}
