//! Messages that do not stay in memory.

use crate::house::{House, Plan, config};
use message::{Content, StoreError};
use std::sync::atomic::Ordering::SeqCst;

const SMALL: &str = "large_message_threshold = \"64KiB\"";

#[test]
fn content_over_the_threshold_is_streamed_whole() {
    let house = House::build(config(SMALL, ""), Plan::default());
    let mut client = house.greeted();
    let line = format!("{}\r\n", "x".repeat(76));
    for lines in [800, 900, 10_000] {
        assert!(client.deliver(&line.repeat(lines)).starts_with("250"));
    }
    let messages = house.messages();
    // 800 lines are 62,400 octets.
    assert!(matches!(&messages[0].content, Content::Resident(body) if body.len() == 62_400));
    assert!(matches!(messages[1].content, Content::Spooled { len: 70_200 }));
    assert!(matches!(messages[2].content, Content::Spooled { len: 780_000 }));
    let streams = house.shared.streams.lock().unwrap();
    assert_eq!(streams.len(), 2);
    assert!(streams[1] == line.repeat(10_000).as_bytes());
    assert!(messages[1].id.nth(1) < messages[2].id || messages[1].id != messages[2].id);
}

/// A third of a gigabyte, so that the test stays quick; what is held does not depend on the size.
#[test]
fn a_huge_message_costs_a_few_windows() {
    let house = House::build(config(SMALL, "max_message_size = \"1GiB\"\ntext_line_limit = \"1GiB\""), Plan::default());
    house.shared.discard_streams.store(true, SeqCst);
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 2);
    let chunk = vec![b'x'; 1 << 20];
    let mut most = 0;
    for _ in 0..320 {
        client.send(format!("BDAT {}\r\n", chunk.len()));
        client.send(&chunk);
        assert_eq!(client.code(), 250);
        let stats = house.windows.stats();
        most = most.max(stats.live);
    }
    assert_eq!(client.codes("BDAT 0 LAST\r\n", 1), [250]);
    assert_eq!(house.shared.streamed_bytes.load(SeqCst), 320 << 20);
    assert!(most <= 8, "{most} windows of 64 KiB");
}

#[test]
fn a_stream_that_fails_refuses_the_message_and_not_the_session() {
    let house = House::build(config(SMALL, ""), Plan::default());
    let mut client = house.greeted();
    *house.shared.failure.lock().unwrap() = Some(StoreError::Full);
    let text = format!("{}\r\n", "x".repeat(500)).repeat(1000);
    assert!(client.deliver(&text).starts_with("452 4.3.1"));
    *house.shared.failure.lock().unwrap() = None;
    assert!(client.deliver(&text).starts_with("250"));
    assert_eq!(house.messages().len(), 1);
}

#[test]
fn a_large_message_that_is_refused_at_its_end_is_not_committed() {
    let house = House::build(config(SMALL, "max_message_size = \"256KiB\""), Plan::default());
    let mut client = house.greeted();
    let text = format!("{}\r\n", "x".repeat(500)).repeat(1000);
    assert_eq!(client.deliver(&text), "552 5.3.4 message size limit exceeded");
    assert!(client.deliver("fine\r\n").starts_with("250"));
    assert!(house.shared.streams.lock().unwrap().is_empty());
    assert_eq!(house.messages().len(), 1);
}
