//! Connections behind a load balancer.

use crate::house::House;

const PROXY: &str = "proxy_protocol = \"required\"\nproxy_from = [\"127.0.0.0/8\"]\nproxy_timeout = \"300ms\"\n\
                     relay_from = [\"192.0.2.0/24\"]\nmax_sessions_per_network = 1";

#[test]
fn the_client_is_whom_the_header_names() {
    let house = House::new(PROXY);
    let mut client = house.client();
    for part in ["PROXY TCP4 192.0.2.7 ", "198.51.100.1 4000 25\r\n"] {
        client.send(part);
    }
    assert_eq!(client.code(), 220);
    assert_eq!(client.codes("EHLO x\r\n", 1), [250]);
    assert!(client.deliver("x\r\n").starts_with("250"));
    assert_eq!(house.messages()[0].reception.peer, Some("192.0.2.7".parse().unwrap()));
    // Counted to its own network, and trusted for what it is.
    let mut again = house.client();
    again.send("PROXY TCP4 192.0.2.7 198.51.100.1 4001 25\r\n");
    assert!(again.reply().starts_with("421 4.4.5"));
    let mut stranger = house.client();
    stranger.send("PROXY TCP4 203.0.113.1 198.51.100.1 4001 25\r\n");
    assert_eq!(stranger.code(), 220);
    assert_eq!(stranger.codes("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 3), [250, 250, 550]);
}

#[test]
fn no_header_no_session() {
    let house = House::new(PROXY);
    for beginning in ["EHLO x\r\n", "PROXY TCP4 1.2.3.4\r\n", "", "PROXY "] {
        let mut client = house.client();
        client.send(beginning);
        assert_eq!(client.rest(), "", "{beginning}");
    }
}

#[test]
fn a_header_from_elsewhere_is_not_believed() {
    let house = House::new("proxy_protocol = \"required\"\nproxy_from = [\"10.0.0.0/8\"]");
    let mut client = house.client();
    client.send("PROXY TCP4 10.0.0.1 198.51.100.1 4000 25\r\n");
    assert_eq!(client.rest(), "");
}
