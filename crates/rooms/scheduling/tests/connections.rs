//! How many connections a container gets, when, and how it rests after failures.

mod clockwork;

use clockwork::{Clockwork, START, site};
use message::{Agent, Attempted, Closing, Outcome, UnixMicros, Verdict, Work};
use scheduling::{Flow, Limits, Permits, Ramp, RetryPolicy, Wait};
use std::time::Duration;

fn clockwork(limits: Limits) -> Clockwork {
    Clockwork::new(limits, Permits::new(1000, 0))
}

fn deliver_one(clockwork: &mut Clockwork, connection: u32) {
    let lease = clockwork.scheduler.lease(connection, 1, clockwork.now).expect("mail");
    let attempted = clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, clockwork.now);
    assert_eq!(attempted, Attempted::Settled(Outcome::Delivered));
}

#[test]
fn one_for_little_mail_two_at_first_for_much_then_one_more_a_delivery() {
    let mut clockwork = clockwork(Limits { max_connections: 5, ..Limits::default() });
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    let mut dials = clockwork.dial_all();
    assert_eq!(dials.len(), 1);
    for _ in 0..100 {
        clockwork.message(&container, 1);
    }
    dials.extend(clockwork.dial_all());
    assert_eq!(dials.len(), 2);
    for total in [3, 4, 5, 5, 5] {
        deliver_one(&mut clockwork, dials[0].connection);
        dials.extend(clockwork.dial_all());
        assert_eq!(dials.len(), total);
    }
    let row = clockwork.scheduler.container(&container, clockwork.now).unwrap();
    assert_eq!((row.wait, row.connections, row.active), (Wait::AtLimit(5), 5, 96));
}

#[test]
fn a_message_that_hangs_does_not_hold_the_next() {
    let mut clockwork = clockwork(Limits::default());
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    let hanging = clockwork.dial_all();
    assert!(clockwork.scheduler.lease(hanging[0].connection, 1, clockwork.now).is_some());
    clockwork.message(&container, 1);
    assert!(clockwork.dial_all().is_empty(), "the connection may be about to be free");
    let wake = clockwork.scheduler.poll_wake(clockwork.now).unwrap();
    assert_eq!(wake, Duration::from_secs(2));
    clockwork.now = clockwork.now.after(wake);
    assert_eq!(clockwork.dial_all().len(), 1);
    assert!(clockwork.dial_all().is_empty());
}

#[test]
fn as_many_as_there_is_mail_if_told_so() {
    let mut clockwork = clockwork(Limits { ramp: Ramp::Straight, ..Limits::default() });
    let container = site("a", Agent::Mx);
    for _ in 0..20 {
        clockwork.message(&container, 1);
    }
    let dials = clockwork.dial_all();
    assert_eq!(dials.len(), 20);
    for dial in dials {
        clockwork.scheduler.closed(dial.connection, Closing::Unreachable, clockwork.now);
    }
    clockwork.wait(60);
    assert_eq!(clockwork.dial_all().len(), 1, "one connection tries whether a dead site has come back");
}

#[test]
fn pauses_grow_and_a_delivery_ends_them() {
    let give_up = scheduling::GiveUp { failures: None, after: None };
    let mut clockwork = clockwork(Limits { give_up, ..Limits::default() });
    let container = site("a", Agent::Mx);
    for _ in 0..10 {
        clockwork.message(&container, 1);
    }
    for expected in [10, 30, 60, 120, 300, 600, 900, 900] {
        let dials = clockwork.dial_all();
        assert!(!dials.is_empty());
        for dial in dials {
            clockwork.scheduler.closed(dial.connection, Closing::Unreachable, clockwork.now);
        }
        let row = clockwork.scheduler.container(&container, clockwork.now).unwrap();
        let Wait::Paused { until, .. } = row.wait else { panic!("{row:?}") };
        let (pause, expected) = (clockwork.now.until(until), Duration::from_secs(expected));
        assert!(pause >= expected && pause <= expected * 5 / 4, "{pause:?}, not {expected:?}");
        assert_eq!(clockwork.scheduler.poll_wake(clockwork.now), Some(pause));
        clockwork.now = UnixMicros(until.0 - 1);
        assert!(clockwork.settle().is_empty());
        clockwork.now = until;
    }
    let dials = clockwork.dial_all();
    deliver_one(&mut clockwork, dials[0].connection);
    clockwork.scheduler.closed(dials[0].connection, Closing::Rebuffed, clockwork.now);
    clockwork.wait(3);
    assert_eq!(clockwork.dial_all().len(), 1, "a site that takes mail and says 421 is asked again soon");
    assert_eq!(clockwork.scheduler.summary().active, 9);
}

#[test]
fn a_pause_is_never_longer_than_the_retry_interval() {
    let retry = RetryPolicy { interval: Duration::from_secs(1), ..RetryPolicy::default() };
    let mut clockwork = clockwork(Limits { retry, ..Limits::default() });
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    for _ in 0..5 {
        let dials = clockwork.dial_all();
        assert_eq!(dials.len(), 1);
        clockwork.scheduler.closed(dials[0].connection, Closing::Unreachable, clockwork.now);
        clockwork.now = clockwork.now.after(Duration::from_millis(1250));
    }
}

#[test]
fn held_and_suspended_mail_gets_no_connection() {
    let mut clockwork = clockwork(Limits::default());
    let (held, stopped) = (site("held", Agent::Hold), site("stopped", Agent::Mx));
    clockwork.message(&held, 2);
    clockwork.message(&stopped, 2);
    let first = clockwork.dial_all();
    assert_eq!(first.len(), 1);
    assert!(clockwork.scheduler.set_flow(&stopped, Flow::Suspended, clockwork.now));
    assert!(clockwork.scheduler.lease(first[0].connection, 9, clockwork.now).is_none());
    clockwork.scheduler.closed(first[0].connection, Closing::Done, clockwork.now);
    clockwork.wait(100);
    assert!(clockwork.settle().is_empty());
    let wait = |clockwork: &Clockwork, site: &_| clockwork.scheduler.container(site, clockwork.now).unwrap().wait;
    assert_eq!(
        (wait(&clockwork, &held), wait(&clockwork, &stopped)),
        (Wait::Held, Wait::SuspendedByOperator { until: None })
    );
    clockwork.scheduler.set_flow(&stopped, Flow::Flowing, clockwork.now);
    assert_eq!(clockwork.settle().len(), 1);
    assert_eq!(clockwork.scheduler.withdraw(&held, 9, clockwork.now).len(), 2);
}

#[test]
fn a_new_configuration_reaches_containers_that_exist() {
    let mut clockwork = clockwork(Limits { flow: Flow::Suspended, ..Limits::default() });
    let container = site("a", Agent::Mx);
    clockwork.message(&container, 1);
    assert!(clockwork.settle().is_empty());
    let flowing = std::sync::Arc::new(Limits::default());
    clockwork.scheduler.reconfigure(clockwork.now, |_| flowing.clone());
    assert_eq!(clockwork.settle().len(), 1);
}

#[test]
fn containers_without_mail_go_and_are_made_again() {
    let mut clockwork = clockwork(Limits::default());
    for n in 0..1000 {
        clockwork.message(&site(&format!("s{n}"), Agent::Mx), 1);
    }
    for dial in clockwork.dial_all() {
        deliver_one(&mut clockwork, dial.connection);
        clockwork.scheduler.closed(dial.connection, Closing::Done, clockwork.now);
    }
    assert_eq!(clockwork.scheduler.summary().containers, 1000);
    clockwork.wait(61);
    clockwork.settle();
    assert_eq!(clockwork.scheduler.summary(), scheduling::Summary::default());
    assert_eq!(clockwork.scheduler.poll_wake(clockwork.now), None);
    clockwork.message(&site("s7", Agent::Mx), 1);
    assert_eq!(clockwork.dial_all().len(), 1);
}

#[test]
fn pages_show_every_container_once() {
    let mut clockwork = clockwork(Limits::default());
    for n in 0..10 {
        clockwork.message(&site(&format!("s{n}"), Agent::Mx), n + 1);
    }
    let (mut from, mut names) = (Some(0), vec![]);
    while let Some(at) = from {
        let page = clockwork.scheduler.containers(at, 3, START);
        assert!(page.rows.len() <= 3);
        names.extend(page.rows.iter().map(|row| (row.container.name.to_string(), row.active)));
        from = page.next;
    }
    names.sort();
    let expected: Vec<_> = (0..10).map(|n| (format!("s{n}"), n + 1)).collect();
    assert_eq!(names, expected);
}
