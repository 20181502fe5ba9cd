//! The end of the server.

use crate::house::{Client, House, Plan, config};
use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[test]
fn idle_sessions_go_and_transactions_finish() {
    let house = House::new("");
    let mut idle = house.greeted();
    let mut busy = house.greeted();
    busy.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    house.stop();
    assert!(idle.reply().starts_with("421 4.3.2"));
    assert_eq!(idle.rest(), "");
    let mut late = Client::connect(house.address);
    assert!(late.reply().starts_with("421 4.3.2"));
    busy.send("x\r\n.\r\n");
    assert_eq!((busy.code(), busy.code()), (250, 421));
    let begin = Instant::now();
    let shared = house.join();
    assert!(begin.elapsed() < Duration::from_secs(4), "nobody is waited for that is gone");
    assert_eq!(shared.onward.lock().unwrap().len(), 1);
}

#[test]
fn transactions_that_do_not_finish_are_ended_and_messages_being_stored_are_waited_for() {
    let house = House::build(config("", ""), Plan { drain: Duration::from_millis(200), ..Plan::default() });
    let mut stuck = house.greeted();
    stuck.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    let mut storing = house.greeted();
    storing.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    house.shared.holding.store(true, SeqCst);
    storing.send("x\r\n.\r\n");
    // The last octets are read before the stop is seen, as they were sent before.
    std::thread::sleep(Duration::from_millis(50));
    house.stop();
    assert!(stuck.reply().starts_with("421 4.3.2"));
    house.shared.holding.store(false, SeqCst);
    assert_eq!(storing.code(), 250);
    let shared = house.join();
    assert_eq!(shared.onward.lock().unwrap().len(), 1);
}

#[test]
fn a_client_that_never_stops_sending_is_stopped() {
    let plan = Plan { drain: Duration::from_millis(300), ..Plan::default() };
    let limits = "max_message_size = \"1GiB\"\ntext_line_limit = \"1GiB\"";
    let house = House::build(config("large_message_threshold = \"64KiB\"", limits), plan);
    house.shared.discard_streams.store(true, SeqCst);
    let flood = |mut client: Client, block: Vec<u8>| {
        let mut writer = client.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || while writer.write_all(&block).is_ok() {});
        std::thread::spawn(move || {
            while !client.reply().starts_with("421 4.3.2") {}
            sender.join().unwrap();
        })
    };
    let mut data = house.greeted();
    data.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    let messages = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 0 LAST\r\n".repeat(100);
    let floods = [flood(house.greeted(), messages), flood(data, vec![b'x'; 65_536])];
    std::thread::sleep(Duration::from_millis(100));
    house.stop();
    house.join();
    for flood in floods {
        flood.join().unwrap();
    }
}
