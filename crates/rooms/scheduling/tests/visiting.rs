//! An operator goes over all that waits, in steps, while mail comes, moves and goes.

mod clockwork;

use clockwork::{Clockwork, START, site};
use message::{Agent, Queued, Verdict, Work};
use proptest::prelude::*;
use scheduling::{EntryFilter, EntryPlace, Found, Limits, Permits, Selector, VisitBounds};
use std::time::Duration;

fn clockwork() -> Clockwork {
    Clockwork::new(Limits::default(), Permits::new(100, 10))
}

/// All that a filter means, found in steps of that size; each step stays within it.
fn visit(clockwork: &Clockwork, filter: &EntryFilter, bounds: VisitBounds) -> Vec<Found> {
    let (mut visit, mut all, mut steps) = (clockwork.scheduler.begin_visit(), vec![], 0);
    while !visit.is_done() {
        let before = all.len();
        clockwork.scheduler.visit(&mut visit, filter, bounds, &mut all);
        assert!(all.len() - before <= bounds.found, "a step found {}", all.len() - before);
        steps += 1;
        assert!(steps < 1_000_000, "the visit does not end");
    }
    all
}

fn of_domain(domain: &str) -> EntryFilter {
    EntryFilter { selector: Selector { domain: Some(domain.into()), ..Selector::default() }, ..EntryFilter::default() }
}

const STEP: VisitBounds = VisitBounds { places: 100, found: 7 };

#[test]
fn a_visit_sees_each_recipient_once_and_filters() {
    let mut clockwork = clockwork();
    let sites: Vec<_> = (0..5).map(|n| site(&format!("d{n}"), Agent::Mx)).collect();
    for n in 0..3000_u64 {
        let later = START.after(Duration::from_secs(n % 3 * 600));
        let queued = Queued { not_before: later, ..clockwork.queued(n, 0) };
        clockwork.enqueue(&sites[n as usize % 5], queued);
    }
    let all = visit(&clockwork, &EntryFilter::default(), STEP);
    let mut keys: Vec<u64> = all.iter().map(|found| found.row.key.0).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..3000).collect::<Vec<_>>());
    assert_eq!(visit(&clockwork, &of_domain("d3"), STEP).len(), 600);
    assert!(visit(&clockwork, &of_domain("none"), STEP).is_empty());
    clockwork.wait(3600);
    clockwork.message(&sites[0], 1);
    let old = EntryFilter { received_until: Some(START), ..EntryFilter::default() };
    assert_eq!(visit(&clockwork, &old, STEP).len(), 3000);
    let young = EntryFilter { received_from: Some(START.after(Duration::from_secs(1))), ..EntryFilter::default() };
    assert_eq!(visit(&clockwork, &young, STEP).len(), 1);
}

#[test]
fn what_a_connection_took_meanwhile_is_left_to_it() {
    let mut clockwork = clockwork();
    let one = site("one", Agent::Mx);
    clockwork.message(&one, 1);
    let found = visit(&clockwork, &EntryFilter::default(), STEP);
    let connection = clockwork.settle()[0].connection;
    let lease = clockwork.scheduler.lease(connection, 1, clockwork.now).expect("mail");
    assert!(visit(&clockwork, &EntryFilter::default(), STEP).is_empty(), "it has a connection");
    assert!(clockwork.scheduler.withdraw_found(&found[0], clockwork.now).is_none());
    clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, clockwork.now);
    assert!(clockwork.scheduler.withdraw_found(&found[0], clockwork.now).is_none());
    // Another message has its place in the table now.
    clockwork.message(&one, 1);
    assert!(!clockwork.scheduler.hasten_found(&found[0], clockwork.now));
    assert!(clockwork.scheduler.postpone_found(&found[0], clockwork.now).is_none());
    assert_eq!(clockwork.scheduler.summary().active, 1);
}

#[test]
fn postponed_mail_waits_and_hastened_mail_goes() {
    let mut clockwork = clockwork();
    let one = site("one", Agent::Mx);
    clockwork.message(&one, 4);
    let found = visit(&clockwork, &EntryFilter::default(), STEP);
    let until = START.after(Duration::from_secs(7200));
    for found in &found[..3] {
        assert_eq!(clockwork.scheduler.postpone_found(found, until), Some(until));
    }
    let delayed = |clockwork: &Clockwork| clockwork.scheduler.summary().delayed;
    assert_eq!((clockwork.scheduler.summary().active, delayed(&clockwork)), (1, 3));
    assert!(!clockwork.scheduler.hasten_found(&found[3], clockwork.now), "it is active");
    let again = visit(&clockwork, &EntryFilter::default(), STEP);
    assert_eq!(again[0].row.place, EntryPlace::Delayed { until });
    assert!(clockwork.scheduler.hasten_found(&again[0], clockwork.now));
    assert_eq!(delayed(&clockwork), 2);
    clockwork.wait(7199);
    clockwork.settle();
    assert_eq!(delayed(&clockwork), 2);
    clockwork.wait(1);
    clockwork.settle();
    assert_eq!(delayed(&clockwork), 0);
    // No later than its age allows.
    let found = visit(&clockwork, &EntryFilter::default(), STEP);
    let expires = clockwork.scheduler.postpone_found(&found[0], START.after(Duration::from_secs(1 << 30)));
    assert!(expires.is_some_and(|at| at < START.after(Duration::from_secs(8 * 86_400))), "{expires:?}");
}

proptest! {
    /// Whatever is taken, hastened and postponed at random: nothing is lost, and the rest comes out in time.
    #[test]
    fn nothing_is_lost(acts in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 1..200)) {
        let mut clockwork = clockwork();
        let sites: Vec<_> = (0..3).map(|n| site(&format!("d{n}"), Agent::Mx)).collect();
        for n in 0..120_u64 {
            let later = START.after(Duration::from_secs(n * 37 % 900));
            let queued = Queued { not_before: later, ..clockwork.queued(n, 0) };
            clockwork.enqueue(&sites[n as usize % 3], queued);
        }
        let mut left = 120;
        for (act, pick) in acts {
            let found = visit(&clockwork, &EntryFilter::default(), STEP);
            prop_assert_eq!(found.len(), left);
            if found.is_empty() {
                break;
            }
            let found = &found[pick.index(left)];
            match act {
                0 => {
                    let taken = clockwork.scheduler.withdraw_found(found, clockwork.now).expect("it waits");
                    prop_assert_eq!(taken.key, found.row.key);
                    left -= 1;
                }
                1 => drop(clockwork.scheduler.hasten_found(found, clockwork.now)),
                _ => drop(clockwork.scheduler.postpone_found(found, clockwork.now.after(Duration::from_secs(500)))),
            }
            clockwork.wait(1);
        }
        clockwork.wait(2000);
        clockwork.settle();
        let summary = clockwork.scheduler.summary();
        prop_assert_eq!((summary.active as usize, summary.delayed, summary.leased), (left, 0, 0));
    }
}
