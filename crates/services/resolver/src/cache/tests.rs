//! The cache against a clock of our own.

use policy::DnsName;

use super::*;
use crate::answer::Failure;
use crate::{RecordKind, Records};

fn limits() -> CacheLimits {
    CacheLimits {
        ttl_min: Duration::from_secs(5),
        ttl_max: Duration::from_secs(1000),
        negative_ttl_max: Duration::from_secs(100),
        failure_ttl: Duration::from_secs(7),
        stale_max: Duration::from_secs(600),
        entries_max: 100,
        bytes_max: 1 << 20,
    }
}

fn question(number: usize) -> Arc<Question> {
    Arc::new(Question::new(&DnsName::parse(&format!("h{number}.example")).unwrap(), RecordKind::A))
}

fn address(ttl: u32) -> Outcome {
    Ok(Answer::Records { records: Records::A(Arc::from(["192.0.2.1".parse().unwrap()])), ttl })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn an_answer_lives_as_long_as_its_ttl() {
    let (mut cache, now) = (Cache::new(limits()), Instant::now());
    assert_eq!(cache.insert(now, &question(1), address(60)).expires_in, seconds(60));
    assert_eq!(cache.lookup(now + seconds(59), &question(1)).unwrap().expires_in, seconds(1));
    assert_eq!(cache.lookup(now + seconds(60), &question(1)), None);
    assert_eq!(cache.lookup(now, &question(2)), None);
}

#[test]
fn lifetimes_are_clamped() {
    let (mut cache, now) = (Cache::new(limits()), Instant::now());
    let mut number = 0;
    let mut lifetime = |outcome| {
        number += 1; // A failure behind an answer would be answered by the latter.
        cache.insert(now, &question(number), outcome).expires_in
    };
    assert_eq!(lifetime(address(0)), seconds(5));
    assert_eq!(lifetime(address(u32::MAX)), seconds(1000));
    assert_eq!(lifetime(Ok(Answer::NoDomain { ttl: Some(50) })), seconds(50));
    assert_eq!(lifetime(Ok(Answer::NoDomain { ttl: Some(5000) })), seconds(100));
    assert_eq!(lifetime(Ok(Answer::NoData { ttl: Some(0) })), seconds(5));
    assert_eq!(lifetime(Ok(Answer::NoData { ttl: None })), seconds(7));
    assert_eq!(lifetime(Err(Failure::ServerFailure)), seconds(7));
}

#[test]
fn a_stale_answer_stands_in_for_a_failure_within_its_bound() {
    let (mut cache, now) = (Cache::new(limits()), Instant::now());
    cache.insert(now, &question(1), address(60));
    let later = now + seconds(100);
    assert_eq!(cache.lookup(later, &question(1)), None, "asked again first");
    let found = cache.insert(later, &question(1), Err(Failure::Timeout));
    assert_eq!((found.outcome.clone(), found.freshness), (address(60), Freshness::Stale));
    assert_eq!(cache.lookup(later + seconds(29), &question(1)).unwrap().freshness, Freshness::Stale);
    assert_eq!(cache.lookup(later + seconds(30), &question(1)), None, "and again after 30 s");

    let end = now + seconds(660);
    assert_eq!(cache.insert(end, &question(1), Err(Failure::Timeout)).outcome, Err(Failure::Timeout));
    assert_eq!(cache.lookup(end, &question(1)).unwrap().outcome, Err(Failure::Timeout));
}

#[test]
fn no_stale_answer_where_it_is_switched_off() {
    let mut cache = Cache::new(CacheLimits { stale_max: Duration::ZERO, ..limits() });
    let now = Instant::now();
    cache.insert(now, &question(1), address(60));
    assert!(cache.insert(now + seconds(60), &question(1), Err(Failure::Timeout)).outcome.is_err());
}

#[test]
fn entries_are_bounded_and_the_used_ones_stay() {
    let (mut cache, now) = (Cache::new(limits()), Instant::now());
    cache.insert(now, &question(0), address(900));
    for number in 1..5000 {
        assert!(cache.lookup(now, &question(0)).is_some(), "lost after {number}");
        cache.insert(now, &question(number), address(900));
        assert!(cache.len() <= 100);
    }
    assert_eq!(cache.len(), 100);
    assert_eq!(cache.index.len(), 100);
    assert_eq!(cache.evicted(), 4900);
}

#[test]
fn bytes_are_bounded_and_returned() {
    let mut cache = Cache::new(CacheLimits { bytes_max: 64 << 10, ..limits() });
    let now = Instant::now();
    let text = |size: usize| {
        Ok(Answer::Records { records: Records::Txt(Arc::from([vec![b'x'; size].into_boxed_slice()])), ttl: 900 })
    };
    for number in 0..200 {
        cache.insert(now, &question(number), text(8000));
        assert!(cache.bytes() <= 64 << 10);
    }
    assert!(cache.len() >= 6);
    assert_eq!(cache.insert(now, &question(1000), text(70_000)).expires_in, seconds(900), "told though not kept");
    assert!(cache.lookup(now, &question(1000)).is_none());
    for number in 0..200 {
        cache.forget(&question(number));
    }
    assert_eq!((cache.bytes(), cache.len()), (0, 0));
}

#[test]
fn what_is_over_leaves_without_being_asked_for() {
    let (mut cache, now) = (Cache::new(limits()), Instant::now());
    for number in 0..90 {
        cache.insert(now, &question(number), address(5));
    }
    let later = now + seconds(700);
    for number in 100..140 {
        cache.insert(later, &question(number), address(900));
    }
    assert_eq!(cache.len(), 40, "nothing of the first 90 is left");
    assert_eq!(cache.evicted(), 0);
    assert!((100..140).all(|number| cache.lookup(later, &question(number)).is_some()));
}
