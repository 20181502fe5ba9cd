//! Mail that rests: by the operator's word, by a curfew, by its route; and that its age ends it all the same.

mod clockwork;

use clockwork::{Clockwork, START, site};
use config::Config;
use message::{Agent, Attempted, Outcome, UnixMicros, Verdict, Work};
use scheduling::{Flow, Limits, Permits, RetryPolicy, Selector, Wait};
use std::time::Duration;

fn clockwork(limits: Limits) -> Clockwork {
    Clockwork::new(limits, Permits::new(100, 10))
}

fn selector(domain: Option<&str>, binding: Option<&str>) -> Selector {
    Selector { domain: domain.map(Into::into), binding: binding.map(Into::into), group: None }
}

fn apply(clockwork: &mut Clockwork) {
    let mut from = Some(0);
    while let Some(at) = from {
        from = clockwork.scheduler.apply_suspensions(at, 2, clockwork.now);
    }
}

#[test]
fn a_suspension_holds_for_what_is_there_and_for_what_comes() {
    let mut clockwork = clockwork(Limits::default());
    let (one, two) = (site("one", Agent::Mx), site("two", Agent::Mx));
    clockwork.message(&one, 1);
    clockwork.scheduler.suspend(selector(None, Some("default")), UnixMicros(u64::MAX), clockwork.now).expect("room");
    clockwork.message(&two, 1);
    apply(&mut clockwork);
    assert!(clockwork.settle().is_empty());
    let wait = |clockwork: &Clockwork, site: &_| clockwork.scheduler.container(site, clockwork.now).expect("mail").wait;
    assert_eq!(wait(&clockwork, &two), Wait::SuspendedByOperator { until: None });
    clockwork.scheduler.suspend(selector(Some("two"), None), UnixMicros(u64::MAX), clockwork.now).expect("room");
    assert_eq!(clockwork.scheduler.resume(&selector(Some("one"), None)), 0, "the binding is more than that domain");
    assert_eq!(clockwork.scheduler.resume(&selector(None, Some("default"))), 1);
    apply(&mut clockwork);
    assert_eq!(clockwork.settle().len(), 1, "the domain of its own still rests");
    assert_eq!(clockwork.scheduler.resume(&selector(None, None)), 1);
    apply(&mut clockwork);
    assert_eq!(clockwork.settle().len(), 1);
    assert!(clockwork.scheduler.suspensions().is_empty());
}

#[test]
fn a_suspension_with_an_end_ends_by_itself() {
    let mut clockwork = clockwork(Limits::default());
    let until = clockwork.now.after(Duration::from_secs(90));
    clockwork.scheduler.suspend(selector(Some("one"), None), until, clockwork.now).expect("room");
    let one = site("one", Agent::Mx);
    clockwork.message(&one, 1);
    assert!(clockwork.settle().is_empty());
    let row = clockwork.scheduler.container(&one, clockwork.now).expect("it has mail");
    assert_eq!((row.wait, row.looked_at), (Wait::SuspendedByOperator { until: Some(until) }, Some(until)));
    assert_eq!(clockwork.scheduler.poll_wake(clockwork.now), Some(Duration::from_secs(90)));
    clockwork.wait(90);
    assert_eq!(clockwork.settle().len(), 1);
}

/// The options of a text for a domain.
fn configured(text: &str) -> Limits {
    let config = Config::parse("test", &format!("[domain.\"*\"]\n{text}\n")).expect("a configuration");
    Limits::from(&*config.domain_options("one", "default", None))
}

#[test]
fn a_curfew_rests_and_wakes_by_itself() {
    // The clock starts on Tuesday, 14 November 2023, at 22:13:20.
    let mut clockwork = clockwork(configured("curfew = [\"tue 22:00-23:00\", \"23:00-23:30\"]"));
    let one = site("one", Agent::Mx);
    clockwork.message(&one, 2);
    assert!(clockwork.settle().is_empty());
    let until = START.after(Duration::from_secs(76 * 60 + 40));
    let row = clockwork.scheduler.container(&one, clockwork.now).expect("it has mail");
    assert_eq!(row.wait, Wait::Curfew { until });
    assert_eq!(clockwork.scheduler.poll_wake(clockwork.now), Some(START.until(until)));
    clockwork.now = until;
    let dials = clockwork.settle();
    assert_eq!(dials.len(), 1);
    clockwork.wait(23 * 3600 + 30 * 60 + 1);
    assert!(
        clockwork.scheduler.lease(dials[0].connection, 9, clockwork.now).is_none(),
        "an open connection rests, too"
    );
}

/// Turns until the recipients of the one message are reported as expired; says when.
fn expires_at(clockwork: &mut Clockwork) -> UnixMicros {
    for _ in 0..1000 {
        clockwork.settle();
        if let Some((_, lease)) = clockwork.scheduler.poll_expired(clockwork.now) {
            for leased in &lease.recipients {
                let attempted = clockwork.scheduler.attempted(leased.entry, Verdict::Permanent, clockwork.now);
                assert_eq!(attempted, Attempted::Settled(Outcome::Failed));
            }
            return clockwork.now;
        }
        let wake = clockwork.scheduler.poll_wake(clockwork.now).expect("something is left to do");
        clockwork.now = clockwork.now.after(wake.max(Duration::from_millis(1)));
    }
    panic!("the message never expires");
}

#[test]
fn a_message_ends_at_its_age_wherever_it_waits() {
    let limits = configured("message_expiration = \"2h\"\nmax_message_age = \"1h\"");
    let held = || clockwork(limits.clone());
    let hour = START.after(Duration::from_secs(3600));
    let late = hour.after(Duration::from_secs(2));

    let mut clockwork = held();
    clockwork.message(&site("held", Agent::Hold), 2);
    assert!((hour..late).contains(&expires_at(&mut clockwork)), "held by its route");

    let mut clockwork = held();
    let one = site("one", Agent::Mx);
    clockwork.message(&one, 2);
    clockwork.scheduler.set_flow(&one, Flow::Suspended, clockwork.now);
    assert!((hour..late).contains(&expires_at(&mut clockwork)), "suspended");

    let mut clockwork = held();
    let queued = message::Queued { not_before: START.after(Duration::from_secs(9000)), ..clockwork.queued(7, 0) };
    clockwork.enqueue(&one, queued);
    assert!((hour..late).contains(&expires_at(&mut clockwork)), "delayed");
}

#[test]
fn what_is_held_without_an_age_is_held_for_ever() {
    let policy = RetryPolicy { expiration: Duration::from_secs(10), ..RetryPolicy::default() };
    let mut clockwork = clockwork(Limits { retry: policy, ..Limits::default() });
    clockwork.message(&site("held", Agent::Hold), 1);
    clockwork.wait(365 * 86_400);
    clockwork.settle();
    assert_eq!(clockwork.scheduler.poll_expired(clockwork.now).map(|(container, _)| container), None);
}
