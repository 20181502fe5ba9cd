//! Mail that failed comes back at its time: in random order, recipients of a message together, with or without body.

mod clockwork;

use clockwork::{Clockwork, START, site};
use message::{
    Address, Agent, Attempted, Body, BodyType, Closing, Content, Dots, Envelope, Lease, Message, MessageId, Outcome,
    Protocol, Queued, Reception, Recipient, StoreKey, UnixMicros, Utf8, Verdict, Work,
};
use scheduling::{EntryPlace, Limits, Permits, ResidentLimits, Retries, RetryPolicy};
use std::sync::Arc;
use std::time::Duration;

fn clockwork() -> Clockwork {
    Clockwork::new(Limits::default(), Permits::new(1000, 0))
}

fn lease_all(clockwork: &mut Clockwork, connection: u32) -> Vec<Lease> {
    std::iter::from_fn(|| clockwork.scheduler.lease(connection, 100, clockwork.now)).collect()
}

fn fail_all(clockwork: &mut Clockwork, leases: &[Lease]) -> Vec<UnixMicros> {
    let mut dues = vec![];
    for leased in leases.iter().flat_map(|lease| &lease.recipients) {
        match clockwork.scheduler.attempted(leased.entry, Verdict::Transient, clockwork.now) {
            Attempted::Settled(Outcome::Deferred { until, .. }) => dues.push(until),
            odd => panic!("{odd:?}"),
        }
    }
    dues
}

#[test]
fn recipients_of_a_message_come_back_together_and_messages_in_another_order() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    let keys: Vec<_> = (0..50).map(|_| clockwork.message(&container, 4)).collect();
    let connection = clockwork.dial_all()[0].connection;
    let leases = lease_all(&mut clockwork, connection);
    assert_eq!(leases.len(), 50);
    let dues = fail_all(&mut clockwork, &leases);
    assert!(dues.chunks(4).all(|of_one| of_one.iter().all(|due| *due == of_one[0])));
    let moments: std::collections::BTreeSet<_> = dues.iter().map(|due| due.0).collect();
    assert!(moments.len() > 40, "messages that failed together are spread: {moments:?}");
    assert!(lease_all(&mut clockwork, connection).is_empty());
    clockwork.wait(1200 * 11 / 10 + 1);
    clockwork.settle();
    let again = lease_all(&mut clockwork, connection);
    assert!(again.iter().all(|lease| lease.recipients.len() == 4 && lease.recipients[0].attempts == 2));
    let mut order: Vec<_> = again.iter().map(|lease| lease.key).collect();
    assert_ne!(order, keys);
    order.sort_by_key(|key| key.0);
    assert_eq!(order, keys);
}

#[test]
fn messages_due_at_one_moment_are_shuffled() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    let not_before = START.after(Duration::from_secs(60));
    for key in 1..=100 {
        let queued = Queued { not_before, ..clockwork.queued(key, 0) };
        clockwork.enqueue(&container, queued);
    }
    clockwork.wait(60);
    let connection = clockwork.settle()[0].connection;
    let order: Vec<_> = lease_all(&mut clockwork, connection).iter().map(|lease| lease.key.0).collect();
    let in_place = order.iter().zip(1..).filter(|&(&key, place)| key == place).count();
    assert!(order.len() == 100 && in_place < 20, "{order:?}");
}

#[test]
fn a_flush_brings_all_delayed_mail_at_once_and_only_that() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    for _ in 0..1000 {
        clockwork.message(&container, 1);
    }
    let connection = clockwork.dial_all()[0].connection;
    let leases = lease_all(&mut clockwork, connection);
    fail_all(&mut clockwork, &leases);
    assert!(clockwork.scheduler.flush(&container, clockwork.now));
    clockwork.settle();
    let summary = clockwork.scheduler.summary();
    assert_eq!((summary.active, summary.delayed), (1000, 0));
    let leases = lease_all(&mut clockwork, connection);
    let dues = fail_all(&mut clockwork, &leases);
    clockwork.settle();
    let summary = clockwork.scheduler.summary();
    assert_eq!((summary.active, summary.delayed), (0, 1000), "what fails again waits again");
    let rows = clockwork.scheduler.entries(&container, 10);
    let EntryPlace::Delayed { until } = rows[0].place else { panic!("{rows:?}") };
    assert_eq!((rows.len(), Some(&until)), (10, dues.iter().min()));
    assert!(!clockwork.scheduler.flush(&site("other", Agent::Mx), clockwork.now));
}

#[test]
fn mail_that_was_never_tried_expires_too() {
    let mut clockwork = clockwork();
    let (dead, never) = (site("dead", Agent::Mx), site("never", Agent::Hold));
    for _ in 0..1000 {
        clockwork.message(&dead, 2);
    }
    clockwork.message(&never, 1);
    for dial in clockwork.dial_all() {
        clockwork.scheduler.closed(dial.connection, Closing::Unreachable, clockwork.now);
    }
    clockwork.wait(86_400 - 60);
    clockwork.message(&dead, 1); // fresh mail does not expire with the old
    clockwork.wait(59);
    for dial in clockwork.settle() {
        clockwork.scheduler.closed(dial.connection, Closing::Unreachable, clockwork.now);
    }
    assert_eq!(clockwork.scheduler.summary().expired, 0);
    clockwork.wait(2);
    let mut expired = vec![];
    for _ in 0..2000 {
        let Some((container, lease)) = clockwork.scheduler.poll_expired(clockwork.now) else {
            match clockwork.scheduler.poll_wake(clockwork.now) {
                Some(Duration::ZERO) => continue,
                _ => break,
            }
        };
        assert_eq!(*container, *dead);
        expired.push((lease.key.0, lease.recipients.len()));
        for leased in lease.recipients {
            assert_eq!(leased.attempts, 0);
            let attempted = clockwork.scheduler.attempted(leased.entry, Verdict::Permanent, clockwork.now);
            assert_eq!(attempted, Attempted::Settled(Outcome::Failed));
        }
    }
    let expected: Vec<_> = (1..=1000).map(|key| (key, 2)).collect();
    assert_eq!(expired, expected);
    assert_eq!(clockwork.scheduler.summary().active, 2);
}

#[test]
fn mail_that_is_to_wait_beyond_its_end_expires_in_time() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    let not_before = START.after(Duration::from_secs(10 * 86_400));
    let queued = Queued { not_before, ..clockwork.queued(1, 0) };
    clockwork.enqueue(&container, queued);
    clockwork.wait(86_399);
    assert!(clockwork.scheduler.poll_expired(clockwork.now).is_none());
    clockwork.wait(1);
    assert!(clockwork.scheduler.poll_expired(clockwork.now).is_some());
}

#[test]
fn what_could_not_be_reported_is_reported_later() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    clockwork.wait(86_401);
    let connection = clockwork.settle();
    assert!(connection.is_empty());
    let (_, lease) = clockwork.scheduler.poll_expired(clockwork.now).unwrap();
    let untried = clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Untried, clockwork.now);
    assert_eq!(untried, Attempted::Returned);
    assert!(clockwork.scheduler.poll_expired(clockwork.now).is_none());
    clockwork.wait(61);
    let (_, again) = clockwork.scheduler.poll_expired(clockwork.now).unwrap();
    assert_eq!(again.key, lease.key);
}

#[test]
fn the_last_attempt_is_followed_by_the_end() {
    let retry = RetryPolicy { retries: Retries::AtMost(1), ..RetryPolicy::default() };
    let mut clockwork = Clockwork::new(Limits { retry, ..Limits::default() }, Permits::new(1, 0));
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    let connection = clockwork.dial_all()[0].connection;
    let lease = lease_all(&mut clockwork, connection);
    fail_all(&mut clockwork, &lease);
    clockwork.wait(2000);
    let lease = lease_all(&mut clockwork, connection);
    let attempted = clockwork.scheduler.attempted(lease[0].recipients[0].entry, Verdict::Transient, clockwork.now);
    assert_eq!(attempted, Attempted::Expired);
    assert_eq!(clockwork.scheduler.summary().active + clockwork.scheduler.summary().delayed, 0);
}

fn message(id: u128) -> Arc<Message> {
    let recipient =
        Recipient { address: Address::new("a", "b").expect("an address"), notify: message::Notify::Unset, orcpt: None };
    let envelope = Envelope {
        sender: None,
        recipients: vec![recipient],
        body_type: BodyType::SevenBit,
        utf8: Utf8::No,
        ret: None,
        envid: None,
    };
    let reception = Reception {
        at: START,
        connection: MessageId::NONE,
        peer: None,
        protocol: Protocol::Internal,
        helo: "".into(),
        dots: Dots::None,
    };
    let content = Content::Resident(Body::new());
    Arc::new(Message { id: MessageId(id), envelope, reception, trace: Default::default(), content })
}

#[test]
fn a_message_stays_in_memory_until_it_failed_too_often() {
    let mut clockwork = clockwork();
    let container = site("a", Agent::Mx);
    let queued = Queued { message: Some(message(1)), ..clockwork.queued(1, 0) };
    clockwork.enqueue(&container, queued);
    let connection = clockwork.dial_all()[0].connection;
    for attempt in 1..=4 {
        let lease = lease_all(&mut clockwork, connection);
        assert_eq!(lease[0].message.is_some(), attempt <= 3, "attempt {attempt}");
        fail_all(&mut clockwork, &lease);
        clockwork.wait(20_000);
        clockwork.settle();
    }
    assert_eq!(clockwork.scheduler.summary().resident_messages, 0);
}

#[test]
fn a_message_leaves_memory_with_its_last_recipient() {
    let mut clockwork = clockwork();
    let (container, shared) = (site("a", Agent::Mx), message(1));
    for recipient in 0..2 {
        let queued = Queued { message: Some(Arc::clone(&shared)), ..clockwork.queued(1, recipient) };
        clockwork.enqueue(&container, queued);
    }
    let connection = clockwork.dial_all()[0].connection;
    for left in [1, 0] {
        let lease = clockwork.scheduler.lease(connection, 1, START).expect("mail");
        clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, START);
        assert_eq!(clockwork.scheduler.summary().resident_messages, left);
    }
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn memory_pressure_takes_bodies_not_mail() {
    let mut clockwork = clockwork();
    clockwork.scheduler.set_resident_limits(ResidentLimits { messages: 10, octets: u64::MAX });
    let container = site("a", Agent::Mx);
    for key in 1..=15 {
        let queued = Queued { message: Some(message(u128::from(key))), ..clockwork.queued(key, 0) };
        clockwork.enqueue(&container, queued);
    }
    assert_eq!(clockwork.scheduler.summary().resident_messages, 10);
    let connection = clockwork.dial_all()[0].connection;
    let lease = clockwork.scheduler.lease(connection, 1, START).unwrap();
    assert_eq!((lease.key, lease.message.is_some()), (StoreKey(1), false));
    clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, START);
    clockwork.scheduler.drop_resident();
    let leases = lease_all(&mut clockwork, connection);
    assert!(leases.len() == 14 && leases.iter().all(|lease| lease.message.is_none()));
    assert_eq!(clockwork.scheduler.summary().resident_octets, 0);
}
