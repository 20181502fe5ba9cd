//! Messages to store, and loops to store them from.
#![allow(dead_code, reason = "each test file uses its part")]

use engine::{LoopContext, LoopOptions, Pool, TaskKind};
use fabric::Slice;
use message::{
    Address, Body, BodyType, Content, Dots, Envelope, Message, MessageId, Notify, Protocol, Reception, Recipient,
    UnixMicros, Utf8,
};
use spool::{Journal, JournalHandle, Options, RecoveredMessage};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Octets that differ from message to message.
pub(crate) fn octets(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + (state % 26) as u8
        })
        .collect()
}

/// Message number `n`, with `recipients` recipients and `len` octets of content.
pub(crate) fn message(n: u32, recipients: usize, len: usize) -> Arc<Message> {
    let body = octets(u64::from(n), len);
    let mut content = Body::new();
    let (front, back) = body.split_at(len / 3);
    content.push(Slice::copy_from(front));
    content.push(Slice::copy_from(back));
    Arc::new(Message { content: Content::Resident(content), ..(*envelope(n, recipients, len as u64)).clone() })
}

/// As [`message`], without its content.
pub(crate) fn envelope(n: u32, recipients: usize, len: u64) -> Arc<Message> {
    let recipient = |r: usize| Recipient {
        address: Address::new(&format!("user{r}"), "example.org").unwrap(),
        notify: Notify::Unset,
        orcpt: None,
    };
    Arc::new(Message {
        id: MessageId::new(1_700_000_000, 1, 77, n),
        envelope: Envelope {
            sender: Some(Address::new("sender", "example.net").unwrap()),
            recipients: (0..recipients).map(recipient).collect(),
            body_type: BodyType::EightBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(1_700_000_000_000_000 + u64::from(n)),
            connection: MessageId::NONE,
            peer: Some("192.0.2.1".parse().unwrap()),
            protocol: Protocol::Esmtp,
            helo: "client.example.net".into(),
            dots: Dots::None,
        },
        trace: Slice::copy_from(format!("Received: from client.example.net; number {n}\r\n").as_bytes()),
        content: Content::Spooled { len },
    })
}

/// Octets of a message that was fetched.
pub(crate) fn content(message: &Message) -> Vec<u8> {
    match &message.content {
        Content::Resident(body) => body.to_vec(),
        Content::Spooled { .. } => panic!("the content is not there"),
    }
}

/// Asserts that `found` is message `n` as it was stored.
pub(crate) fn assert_same(found: &Message, n: u32, recipients: usize, len: usize) {
    let expected = message(n, recipients, len);
    assert_eq!((found.id, &found.envelope, &found.reception), (expected.id, &expected.envelope, &expected.reception));
    assert_eq!(found.trace, expected.trace);
    assert!(content(found) == octets(u64::from(n), len), "content of message {n}");
}

/// Settings that make much happen in little space.
pub(crate) fn small(directory: &Path) -> Options {
    let mut options = Options::new(vec![directory.join("v0"), directory.join("v1")]);
    options.segment_bytes = 1 << 20;
    options.compaction_delay = Duration::ZERO;
    options.compaction_bytes_per_second = 1 << 30;
    options
}

/// A pool for reading back.
pub(crate) fn swap_in() -> Pool {
    Pool::new("swap-in", 2, 256).unwrap()
}

/// Opens a journal, runs `main` on a loop of its own, closes it, and returns what `main` did.
pub(crate) fn with_journal<F, R>(
    options: Options,
    main: impl FnOnce(LoopContext, JournalHandle, Vec<RecoveredMessage>) -> F,
) -> R
where
    F: Future<Output = R> + 'static,
    R: 'static,
{
    let opened = Journal::open(options, 1).unwrap();
    let (journal, mut seats, recovered) = (opened.journal, opened.seats, opened.recovered);
    let recovered: Vec<_> = recovered.collect();
    let result = engine::run_here(LoopOptions::default(), |cx| {
        let (handle, pump) = seats.remove(0).take(swap_in());
        cx.spawn(TaskKind("spool pump"), pump).detach();
        main(cx, handle, recovered)
    });
    journal.close();
    result.unwrap()
}

/// Lets the store get on with what it has been told.
pub(crate) async fn pause(cx: &LoopContext, millis: u64) {
    cx.timers().sleep(Duration::from_millis(millis)).await;
}
