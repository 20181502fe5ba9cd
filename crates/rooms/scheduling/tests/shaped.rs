//! What traffic shaping brings to queues: rest, fewer connections, rates beside the configured ones, counted mail.

mod clockwork;

use clockwork::{Clockwork, START, site};
use config::Rate;
use message::{Agent, Attempted, Closing, Outcome, UnixMicros, Verdict, Work};
use scheduling::{Limits, Permits, Ramp, Shaping, Share, Shares, Throttle, Wait};
use smallvec::smallvec;
use std::sync::Arc;
use std::time::Duration;

fn clockwork() -> Clockwork {
    let limits = Limits { ramp: Ramp::Straight, max_connections: 8, ..Limits::default() };
    Clockwork::new(limits, Permits::new(100, 10))
}

fn throttle(count: u32, seconds: u64) -> Arc<Throttle> {
    Throttle::new(Rate { count, period: Duration::from_secs(seconds) })
}

#[test]
fn a_queue_rests_until_its_time_or_until_it_is_let_go() {
    let (mut clockwork, one) = (clockwork(), site("one", Agent::Mx));
    assert!(!clockwork.scheduler.shape(&one, Some(Shaping::default()), START), "there is no such queue yet");
    clockwork.message(&one, 1);
    let until = START.after(Duration::from_secs(60));
    let rest = Shaping { suspended_until: until, until, ..Shaping::default() };
    assert!(clockwork.scheduler.shape(&one, Some(rest.clone()), clockwork.now));
    assert!(clockwork.settle().is_empty());
    let row = clockwork.scheduler.container(&one, clockwork.now).expect("mail");
    assert_eq!((row.wait, row.looked_at), (Wait::Shaped { until }, Some(until)));
    clockwork.wait(59);
    assert!(clockwork.settle().is_empty());
    clockwork.wait(1);
    let dials = clockwork.settle();
    assert_eq!(dials.len(), 1, "it goes on by itself");
    clockwork.scheduler.closed(dials[0].connection, Closing::Done, clockwork.now);

    let rest = Shaping { suspended_until: UnixMicros(u64::MAX), ..rest };
    clockwork.scheduler.shape(&one, Some(rest), clockwork.now);
    assert!(clockwork.settle().is_empty());
    clockwork.scheduler.shape(&one, None, clockwork.now);
    assert_eq!(clockwork.settle().len(), 1, "or when it is let go");
}

#[test]
fn connections_beyond_the_limit_go_and_no_others() {
    let (mut clockwork, one) = (clockwork(), site("one", Agent::Mx));
    for _ in 0..100 {
        clockwork.message(&one, 1);
    }
    let dials = clockwork.settle();
    assert_eq!(dials.len(), 8);
    assert!(dials.iter().all(|dial| clockwork.scheduler.keeps(dial.connection)));
    let fewer = Shaping { max_connections: 3, ..Shaping::default() };
    clockwork.scheduler.shape(&one, Some(fewer), clockwork.now);
    let kept: Vec<bool> = dials.iter().map(|dial| clockwork.scheduler.keeps(dial.connection)).collect();
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 3, "asked before any has gone");
    for (dial, kept) in dials.iter().zip(&kept) {
        assert_eq!(clockwork.scheduler.keeps(dial.connection), *kept, "the word stands");
        if !kept {
            clockwork.scheduler.closed(dial.connection, Closing::Done, clockwork.now);
        }
    }
    assert!(clockwork.settle().is_empty());
    let row = clockwork.scheduler.container(&one, clockwork.now).expect("mail");
    assert_eq!((row.connections, row.wait), (3, Wait::AtShapedLimit(3)));
    clockwork.scheduler.shape(&one, None, clockwork.now);
    assert_eq!(clockwork.settle().len(), 5, "and come back");
}

#[test]
fn a_rate_is_kept_beside_the_configured_one_and_nothing_is_taken_in_vain() {
    let configured = throttle(1, 3);
    let mut clockwork = clockwork();
    let share = Share { section: "domain.\"*\"".into(), what: configured.clone() };
    let shares = Shares { message_rate: Some(share), ..Shares::default() };
    clockwork.limits = Arc::new(Limits { shares, ..(*clockwork.limits).clone() });
    let one = site("one", Agent::Mx);
    for _ in 0..20 {
        clockwork.message(&one, 1);
    }
    let shaping = Shaping { rates: smallvec![throttle(1, 2), throttle(1, 5)], ..Shaping::default() };
    clockwork.scheduler.shape(&one, Some(shaping), clockwork.now);
    let dial = clockwork.settle().pop().expect("a connection");
    let mut leased = vec![];
    for second in 0..31 {
        if clockwork.scheduler.lease(dial.connection, 1, clockwork.now).is_some() {
            leased.push(second);
        }
        clockwork.wait(1);
        clockwork.settle();
    }
    assert_eq!(leased, [0, 5, 10, 15, 20, 25, 30], "the tightest of the three");
}

#[test]
fn counted_mail_leaves_and_no_more() {
    let (mut clockwork, one) = (clockwork(), site("one", Agent::Mx));
    clockwork.message(&one, 10);
    let until = clockwork.now.after(Duration::from_secs(5));
    let counted = |left| Some(Shaping { allowance: Some(left), until, ..Shaping::default() });
    clockwork.scheduler.shape(&one, counted(3), clockwork.now);
    let dial = clockwork.settle().pop().expect("a connection");
    let lease = clockwork.scheduler.lease(dial.connection, 100, clockwork.now).expect("mail");
    assert_eq!(lease.recipients.len(), 3);
    assert!(clockwork.scheduler.lease(dial.connection, 100, clockwork.now).is_none());
    assert_eq!(clockwork.scheduler.leased(&one), 3);
    for (n, leased) in lease.recipients.iter().enumerate() {
        let verdict = if n == 0 { Verdict::Permanent } else { Verdict::Delivered };
        let settled = clockwork.scheduler.attempted(leased.entry, verdict, clockwork.now);
        assert!(matches!(settled, Attempted::Settled(Outcome::Delivered | Outcome::Failed)));
    }
    assert_eq!(clockwork.scheduler.poll_delivered(), Some((one.clone(), 2)), "what failed is not counted");
    assert_eq!(clockwork.scheduler.poll_delivered(), None);
    clockwork.scheduler.shape(&one, counted(1), clockwork.now);
    let lease = clockwork.scheduler.lease(dial.connection, 100, clockwork.now).expect("the one that came back");
    assert_eq!(lease.recipients.len(), 1);
}
