//! Who gets a session: limits in all, by network, by descriptors; memory.

use crate::house::{Client, House, Plan, config};
use engine::Pressure;
use reception::Reason;

fn greeting(client: &mut Client) -> String {
    client.reply()
}

#[test]
fn sessions_in_all() {
    let house = House::build(config("", "max_sessions = 3"), Plan { loops: 2, ..Plan::default() });
    let mut held: Vec<Client> = (0..3).map(|_| house.greeted()).collect();
    let mut further = house.client();
    assert_eq!(greeting(&mut further), "421 4.4.5 service unavailable, concurrency limit reached");
    assert_eq!(further.rest(), "");
    assert_eq!(house.figures().sessions, 3);
    held.pop().unwrap().codes("QUIT\r\n", 1);
    house.until("a free place", |house| house.figures().sessions == 2);
    house.greeted();
    assert!(house.rejections()[0].starts_with("mx P=connect E=421 M=admission"), "{:?}", house.rejections());
    assert_eq!(house.figures().refused(Reason::Sessions), 1);
}

#[test]
fn sessions_of_a_network() {
    let house = House::build(config("", "max_sessions_per_network = 2"), Plan { loops: 2, ..Plan::default() });
    let held = [house.greeted(), house.greeted()];
    assert!(greeting(&mut house.client()).starts_with("421 4.4.5 too many connections from your network"));
    drop(held);
    house.until("free places", |house| house.figures().sessions == 0);
    house.greeted();
}

#[test]
fn descriptors() {
    let house = House::build(config("", ""), Plan { descriptors: 2, ..Plan::default() });
    let _held = [house.greeted(), house.greeted()];
    assert!(greeting(&mut house.client()).starts_with("421 4.4.5 service unavailable, connection limit reached"));
}

#[test]
fn short_memory_defers_new_mail_and_ends_nothing() {
    let house = House::new("");
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 2);
    house.set_pressure(Pressure::AboveHighWater);
    assert_eq!(client.codes("DATA\r\nRSET\r\nMAIL FROM:<a@b>\r\n", 3), [451, 250, 451]);
    assert_eq!(house.figures().refused(Reason::Resources), 2);
    house.set_pressure(Pressure::AboveGoal);
    assert!(client.deliver("x\r\n").starts_with("250"));
}

#[test]
fn five_hundred_sessions_at_once() {
    let house = House::build(config("", "max_sessions_per_network = 1000"), Plan { loops: 2, ..Plan::default() });
    let mut clients: Vec<Client> = (0..500).map(|_| house.client()).collect();
    for client in &mut clients {
        client.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n");
    }
    for client in &mut clients {
        let codes: Vec<u16> = (0..7).map(|_| client.code()).collect();
        assert_eq!(codes, [220, 250, 250, 250, 354, 250, 221]);
    }
    assert_eq!(house.messages().len(), 500);
    house.until("the end of all", |house| house.figures().sessions == 0);
}
