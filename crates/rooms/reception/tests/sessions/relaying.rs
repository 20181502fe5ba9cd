//! Relay control through a real session.

use crate::house::House;
use reception::Reason;

const RELAY: &str = "relay_from = [\"10.0.0.0/8\"]\nrelay_domains = [\"example.org\"]";

#[test]
fn strangers_reach_our_domains_and_postmaster_only() {
    let house = House::new(RELAY);
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@example.net>\r\n", 1);
    let tricks = [
        "x@example.net",
        "x%example.net@example.org",
        "example.net!x@example.org",
        "\"x@example.net\"@example.org",
        "@example.org:x@example.net",
        "x@[127.0.0.1]",
        "x@example.org.example.net",
    ];
    for trick in tricks {
        client.send(format!("RCPT TO:<{trick}>\r\n"));
        assert_eq!(client.reply(), "550 5.7.1 relaying denied", "{trick}");
    }
    assert_eq!(
        client.codes("RCPT TO:<x@example.org>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\n", 4),
        [250, 250, 354, 250]
    );
    assert_eq!(house.messages()[0].envelope.recipients.len(), 2);
    let row = &house.rejections()[0];
    let expected =
        "mx P=RCPT TO E=550 M=relay from=Some(\"a@example.net\") to=Some(\"x@example.net\") 5.7.1 relaying denied";
    assert_eq!(row, expected);
    assert_eq!(house.figures().refused(Reason::Relay), tricks.len() as u64);
}

#[test]
fn relaying_is_closed_by_default() {
    let house = House::new("relay_from = []");
    let mut client = house.greeted();
    let codes = client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<c@mx.example.org>\r\nDATA\r\n", 4);
    assert_eq!(codes, [250, 550, 550, 554]);
}
