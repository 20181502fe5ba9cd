//! Containers that go to the same hosts: one limit over all event loops, one pause, and connections that serve them all.

mod clockwork;

use clockwork::{Clockwork, site};
use message::{Agent, Closing, Container, Dial, Entrance, UnixMicros, Verdict, Work};
use scheduling::{Limits, Pause, Permits, Ramp, Sites, Wait};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const WAY: u64 = 7;

/// Two event loops of a server.
fn loops(limits: &Limits) -> [Clockwork; 2] {
    let (permits, sites) = (Permits::new(1000, 10), Sites::new());
    [0, 1].map(|_| {
        let mut clockwork = Clockwork::new(limits.clone(), Arc::clone(&permits));
        clockwork.scheduler.share_sites(Arc::clone(&sites));
        clockwork
    })
}

fn straight(max_connections: u32) -> Limits {
    Limits { max_connections, ramp: Ramp::Straight, ..Limits::default() }
}

/// Dials and asks to be let in at the site `mx`; gives those that were.
fn enter_all(clockwork: &mut Clockwork) -> Vec<Dial> {
    let (dials, now) = (clockwork.settle(), clockwork.now);
    let enters = |dial: &Dial| {
        let entrance = clockwork.scheduler.enter(dial.connection, &"mx".into(), WAY, now);
        if entrance != Entrance::Open {
            clockwork.scheduler.closed(dial.connection, Closing::Done, now);
        }
        entrance == Entrance::Open
    };
    dials.into_iter().filter(enters).collect()
}

/// Leases and delivers; if there is nothing, the connection rests. Whether there was anything.
fn deliver(clockwork: &mut Clockwork, connection: u32) -> bool {
    let Some(lease) = clockwork.scheduler.lease(connection, 10, clockwork.now) else {
        clockwork.scheduler.rests(connection);
        return false;
    };
    for leased in &lease.recipients {
        clockwork.scheduler.attempted(leased.entry, Verdict::Delivered, clockwork.now);
    }
    true
}

fn wait_of(clockwork: &Clockwork, container: &Container) -> Wait {
    clockwork.scheduler.container(container, clockwork.now).expect("it has mail").wait
}

#[test]
fn a_site_has_its_connections_once_whichever_domains_and_loops_want_them() {
    let mut loops = loops(&straight(3));
    let containers: Vec<_> = ["a", "b", "c", "d"].map(|name| site(name, Agent::Mx)).into();
    for (n, container) in containers.iter().enumerate() {
        for _ in 0..5 {
            loops[n % 2].message(container, 1);
        }
    }
    let mut open: Vec<(usize, u32)> = vec![];
    let mut left = 20;
    for turn in 0..400 {
        for (at, clockwork) in loops.iter_mut().enumerate() {
            open.extend(enter_all(clockwork).iter().map(|dial| (at, dial.connection)));
            assert!(open.len() <= 3, "turn {turn}: {} connections to a site that may have three", open.len());
        }
        // One works, and goes after each delivery.
        if let Some((at, connection)) = open.pop() {
            left -= usize::from(deliver(&mut loops[at], connection));
            let now = loops[at].now;
            loops[at].scheduler.closed(connection, Closing::Done, now);
        }
        for clockwork in &mut loops {
            clockwork.now = clockwork.now.after(Duration::from_millis(250));
        }
    }
    assert_eq!(left, 0, "everybody had a turn");
}

#[test]
fn who_waits_for_its_site_says_so() {
    let [mut clockwork, _] = loops(&straight(1));
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let first = enter_all(&mut clockwork);
    assert!(clockwork.scheduler.lease(first[0].connection, 1, clockwork.now).is_some());
    clockwork.message(&b, 1);
    assert!(enter_all(&mut clockwork).is_empty());
    assert_eq!(wait_of(&clockwork, &b), Wait::AtSiteLimit { connections: 1, max: 1 });
    let row = clockwork.scheduler.container(&b, clockwork.now).unwrap();
    assert_eq!(row.site.as_deref(), Some("mx"));
    assert_eq!(clockwork.scheduler.poll_wake(clockwork.now), Some(Duration::from_millis(250)));
}

#[test]
fn an_idle_connection_takes_the_mail_of_another_domain_of_its_site() {
    let [mut clockwork, _] = loops(&Limits::default());
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let own = enter_all(&mut clockwork)[0].connection;
    assert!(deliver(&mut clockwork, own) && !deliver(&mut clockwork, own), "then it is idle");
    assert_eq!(clockwork.scheduler.moved(own), None);
    clockwork.message(&b, 1);
    assert!(enter_all(&mut clockwork).is_empty(), "no connection is opened for b");
    assert!(deliver(&mut clockwork, own), "the mail of b");
    assert_eq!(clockwork.scheduler.moved(own).as_deref(), Some(&*b));
    assert_eq!(clockwork.scheduler.moved(own), None, "it is told once");
    // The hosts of b are known now: nothing is dialled at all.
    assert!(!deliver(&mut clockwork, own));
    clockwork.message(&a, 1);
    assert!(clockwork.settle().is_empty());
    assert!(deliver(&mut clockwork, own));
    assert_eq!(clockwork.scheduler.moved(own).as_deref(), Some(&*a));
    clockwork.scheduler.closed(own, Closing::Done, clockwork.now);
    assert_eq!(clockwork.scheduler.summary().connections, 0);
    clockwork.wait(120);
    clockwork.settle();
    assert_eq!(clockwork.scheduler.summary().containers, 0, "nothing holds a container that is done");
}

#[test]
fn a_connection_that_is_unlike_takes_nothing_over() {
    let [mut clockwork, _] = loops(&Limits::default());
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let own = enter_all(&mut clockwork)[0].connection;
    assert!(deliver(&mut clockwork, own) && !deliver(&mut clockwork, own));
    clockwork.message(&b, 1);
    let dial = clockwork.settle().remove(0);
    assert_eq!(clockwork.scheduler.enter(dial.connection, &"mx".into(), WAY + 1, clockwork.now), Entrance::Open);
    assert!(!deliver(&mut clockwork, own));
}

/// A connection leads where it was opened to, whatever becomes of the domain that it was opened for.
#[test]
fn a_connection_to_the_former_hosts_is_not_taken_for_one_to_the_new() {
    let [mut clockwork, _] = loops(&straight(8));
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let old = enter_all(&mut clockwork)[0].connection;
    assert!(clockwork.scheduler.lease(old, 10, clockwork.now).is_some(), "it is busy");
    // The domain moves to other hosts, which are those of b.
    clockwork.message(&a, 1);
    let new = clockwork.settle().remove(0).connection;
    let now = clockwork.now;
    assert_eq!(clockwork.scheduler.enter(new, &"other".into(), WAY, now), Entrance::Open);
    while deliver(&mut clockwork, new) {}
    assert!(!deliver(&mut clockwork, old), "it rests");
    clockwork.scheduler.closed(new, Closing::Done, now);
    clockwork.message(&b, 1);
    let dial = clockwork.settle().remove(0).connection;
    assert_eq!(clockwork.scheduler.enter(dial, &"other".into(), WAY, now), Entrance::Open);
    assert_eq!(clockwork.scheduler.moved(old), None);
}

/// Who lives on others' connections looks at the DNS again all the same, as it would for its own.
#[test]
fn what_the_dns_said_does_not_hold_for_ever() {
    let [mut clockwork, _] = loops(&Limits::default());
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let own = enter_all(&mut clockwork)[0].connection;
    while deliver(&mut clockwork, own) {}
    clockwork.message(&b, 1);
    assert!(enter_all(&mut clockwork).is_empty(), "b knows its hosts, and is spared");
    while deliver(&mut clockwork, own) {}
    clockwork.wait(59);
    clockwork.message(&a, 1);
    clockwork.message(&b, 1);
    while deliver(&mut clockwork, own) {}
    clockwork.wait(2);
    clockwork.message(&b, 1);
    clockwork.message(&a, 1);
    while deliver(&mut clockwork, own) {}
    assert!(!clockwork.settle().is_empty(), "one of them asks again");
}

/// A lease in vain while something is under way does not make a connection one to be given away.
#[test]
fn a_busy_connection_is_not_idle() {
    let [mut clockwork, _] = loops(&straight(8));
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    clockwork.message(&a, 1);
    let own = enter_all(&mut clockwork)[0].connection;
    assert!(clockwork.scheduler.lease(own, 10, clockwork.now).is_some());
    assert!(clockwork.scheduler.lease(own, 10, clockwork.now).is_none());
    clockwork.message(&b, 1);
    assert_eq!(enter_all(&mut clockwork).len(), 1, "b has one of its own");
}

#[test]
fn a_site_that_cannot_be_reached_pauses_for_all_and_begins_with_one_connection() {
    let mut loops = loops(&Limits::default());
    let (a, b) = (site("a", Agent::Mx), site("b", Agent::Mx));
    loops[0].message(&a, 1);
    let dial = enter_all(&mut loops[0]).remove(0);
    let now = loops[0].now;
    loops[0].scheduler.closed(dial.connection, Closing::Unreachable, now);
    loops[1].message(&b, 1);
    assert!(enter_all(&mut loops[1]).is_empty());
    let Wait::Paused { until, why: Pause::Unreachable } = wait_of(&loops[1], &b) else {
        panic!("{:?}", wait_of(&loops[1], &b))
    };
    assert!(until >= now.after(Duration::from_secs(10)));
    for clockwork in &mut loops {
        clockwork.now = until;
    }
    let entered: usize = loops.iter_mut().map(|clockwork| enter_all(clockwork).len()).sum();
    assert_eq!(entered, 1, "one tries whether the site is back");
    // It is not: the next pause is longer, whoever tried.
    let failing = (0..2).find(|&at| loops[at].scheduler.summary().connections > 0).unwrap();
    loops[failing].scheduler.closed(0, Closing::Unreachable, until);
    let other = [&a, &b][1 - failing];
    let looks = |clockwork: &mut Clockwork| {
        clockwork.settle();
        wait_of(clockwork, other)
    };
    let Wait::Paused { until: next, .. } = looks(&mut loops[1 - failing]) else { panic!("the other does not wait") };
    assert!(next >= until.after(Duration::from_secs(30)), "{:?}", until.until(next));
}

#[test]
fn the_connections_of_a_site_grow_with_its_deliveries() {
    let [mut clockwork, _] = loops(&Limits { max_connections: 16, ..Limits::default() });
    let containers: Vec<_> = (0..40).map(|n| site(&format!("d{n}"), Agent::Mx)).collect();
    for container in &containers {
        clockwork.message(container, 1);
    }
    let (mut most, mut open) = (vec![], enter_all(&mut clockwork));
    let mut delivered: HashMap<UnixMicros, usize> = HashMap::new();
    while !open.is_empty() {
        most.push(open.len());
        for dial in std::mem::take(&mut open) {
            *delivered.entry(clockwork.now).or_default() += usize::from(deliver(&mut clockwork, dial.connection));
            clockwork.scheduler.closed(dial.connection, Closing::Done, clockwork.now);
        }
        clockwork.now = clockwork.now.after(Duration::from_millis(250));
        open = enter_all(&mut clockwork);
    }
    assert_eq!(delivered.values().sum::<usize>(), 40);
    assert_eq!(most[..3], [2, 4, 8], "it doubles while all goes well");
    assert!(most.iter().all(|&open| open <= 16), "{most:?}");
}
