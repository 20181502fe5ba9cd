//! Recipients on the suppression list, whose one address in these tests is `suppressed@example.org`.

use crate::house::{House, Plan, config};
use reception::Reason;

const RELAY: &str = "relay_from = []\nrelay_domains = [\"example.org\"]";

fn house(suppression: &str) -> House {
    House::build(config("", &format!("{RELAY}\n[suppression]\n{suppression}")), Plan::default())
}

#[test]
fn a_suppressed_recipient_is_refused_and_the_others_are_not() {
    let house = house("action = \"reject\"");
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@example.net>\r\n", 1);
    client.send("RCPT TO:<suppressed@example.org>\r\n");
    assert_eq!(client.reply(), "550 5.1.0 recipient address is suppressed");
    assert_eq!(client.codes("RCPT TO:<other@example.org>\r\nDATA\r\n.\r\n", 3), [250, 354, 250]);
    assert_eq!(house.messages()[0].envelope.recipients.len(), 1);
    let row = &house.rejections()[0];
    assert!(row.starts_with("mx P=RCPT TO E=550 M=suppression"), "{row}");
    assert_eq!(house.figures().refused(Reason::Suppressed), 1);
}

#[test]
fn the_list_is_asked_only_where_it_is_to_be() {
    for (suppression, code) in [
        ("", 250),
        ("action = \"off\"", 250),
        ("action = \"discard\"", 250),
        ("action = \"reject\"\nkind = \"transactional\"", 250),
        ("action = \"reject\"\nkind = \"non_transactional\"", 550),
    ] {
        let house = house(suppression);
        let mut client = house.greeted();
        let codes = client.codes("MAIL FROM:<a@example.net>\r\nRCPT TO:<suppressed@example.org>\r\n", 2);
        assert_eq!(codes, [250, code], "{suppression}");
    }
}

#[test]
fn a_stranger_learns_nothing_of_addresses_it_may_not_send_to() {
    let house = House::build(config("", "relay_from = []\n[suppression]\naction = \"reject\""), Plan::default());
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@example.net>\r\n", 1);
    client.send("RCPT TO:<suppressed@example.org>\r\n");
    assert_eq!(client.reply(), "550 5.7.1 relaying denied");
}
