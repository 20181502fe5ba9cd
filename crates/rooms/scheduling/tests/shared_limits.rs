//! Limits and throttles that containers share, also those of other event loops: never more than allowed, everybody in
//! turn, nobody forgotten.

mod clockwork;

use clockwork::{START, site};
use config::Rate;
use message::{Agent, Closing, Container, MessageId, Queued, StoreKey, UnixMicros, Verdict, Work};
use proptest::prelude::*;
use scheduling::{Limits, Permits, Ramp, Scheduler, Share, Shares, Throttle, Throttled, Wait};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

fn share<T>(what: Arc<T>) -> Option<Share<T>> {
    Some(Share { section: "binding.a".into(), what })
}

fn rate(count: u32, period_ms: u64) -> Rate {
    Rate { count, period: Duration::from_millis(period_ms) }
}

fn limits(shares: Shares) -> Arc<Limits> {
    Arc::new(Limits { shares, ramp: Ramp::Straight, max_connections: 4, ..Limits::default() })
}

/// A few event loops with connections that deliver whatever they get, each delivery in one call.
struct House {
    loops: Vec<Scheduler>,
    now: UnixMicros,
    open: Vec<(usize, u32, Arc<Container>)>,
    /// When each recipient was leased, and for which container.
    leased: Vec<(UnixMicros, Arc<str>)>,
    dialled: Vec<UnixMicros>,
}

impl House {
    fn new(loops: usize) -> Self {
        let permits = Permits::new(1000, 10);
        let loops = (0..loops).map(|seed| Scheduler::new(permits.clone(), seed as u64, START)).collect();
        Self { loops, now: START, open: vec![], leased: vec![], dialled: vec![] }
    }

    fn enqueue(&mut self, at: usize, container: &Arc<Container>, key: u64, limits: &Arc<Limits>) {
        let queued = Queued {
            key: StoreKey(key),
            id: MessageId(u128::from(key)),
            recipient: 0,
            attempts: 0,
            received: self.now,
            not_before: UnixMicros(0),
            priority: message::Priority::Normal,
            tenant: message::Tenant::OTHERS,
            message: None,
        };
        self.loops[at].enqueue(container, queued, self.now, |_| limits.clone()).expect("room");
    }

    /// One look of every loop's dispatcher: dials, and offers work to every connection that is open.
    fn turn(&mut self) {
        for (at, scheduler) in self.loops.iter_mut().enumerate() {
            while let Some(dial) = scheduler.poll_dial(self.now) {
                self.open.push((at, dial.connection, dial.container));
                self.dialled.push(self.now);
            }
        }
        for (at, connection, container) in &self.open {
            while let Some(lease) = self.loops[*at].lease(*connection, 10, self.now) {
                for recipient in lease.recipients {
                    self.leased.push((self.now, container.name.clone()));
                    self.loops[*at].attempted(recipient.entry, Verdict::Delivered, self.now);
                }
            }
        }
    }

    fn close_all(&mut self) {
        for (at, connection, _) in self.open.drain(..) {
            self.loops[at].closed(connection, Closing::Done, self.now);
        }
    }

    /// Lets time pass to the next moment at which some loop wants attention; at most `most`.
    fn wait(&mut self, most: Duration) {
        let wake = self.loops.iter_mut().filter_map(|scheduler| scheduler.poll_wake(self.now)).min();
        self.now = self.now.after(wake.unwrap_or(most).min(most).max(Duration::from_micros(1)));
    }
}

#[test]
fn a_message_throttle_is_kept_by_all_loops_together_and_used_up() {
    let throttle = Throttle::new(rate(50, 1000));
    let limits = limits(Shares { message_rate: share(throttle), ..Shares::default() });
    let mut house = House::new(2);
    let sites: Vec<_> = (0..20).map(|n| site(&format!("d{n}"), Agent::Mx)).collect();
    for key in 0..1000 {
        house.enqueue(key as usize % 2, &sites[key as usize % 20], key, &limits);
    }
    let end = START.after(Duration::from_secs(10));
    while house.now < end {
        house.turn();
        house.wait(Duration::from_secs(1));
    }
    let count = house.leased.len();
    assert!((490..=506).contains(&count), "{count} in ten seconds at 50 a second");
    let sites: HashSet<_> = house.leased.iter().map(|(_, name)| name).collect();
    assert_eq!(sites.len(), 20, "every container has its turn");
}

#[test]
fn containers_at_a_slow_throttle_are_served_in_the_order_of_their_coming() {
    let limits = limits(Shares { message_rate: share(Throttle::new(rate(1, 1000))), ..Shares::default() });
    let mut house = House::new(1);
    for n in 0..50 {
        house.enqueue(0, &site(&format!("d{n:02}"), Agent::Mx), n, &limits);
    }
    for _ in 0..100_000 {
        house.turn();
        house.wait(Duration::from_secs(1));
        if house.leased.len() == 50 {
            break;
        }
    }
    let names: Vec<_> = house.leased.iter().map(|(_, name)| name.to_string()).collect();
    assert!(names.is_sorted() && names.len() == 50, "{names:?}");
    assert!(START.until(house.now) <= Duration::from_secs(50));
}

#[test]
fn a_thousand_throttled_containers_cost_no_more_looks_than_they_have_mail() {
    let limits = limits(Shares { message_rate: share(Throttle::new(rate(100, 1000))), ..Shares::default() });
    let mut house = House::new(1);
    for n in 0..1000 {
        house.enqueue(0, &site(&format!("d{n}"), Agent::Mx), n, &limits);
    }
    let mut looks = 0;
    while house.leased.len() < 1000 {
        house.turn();
        house.wait(Duration::from_secs(1));
        looks += 1;
        assert!(looks < 5000, "{} of 1000 after {looks} looks", house.leased.len());
    }
}

#[test]
fn a_connection_throttle_spaces_connections() {
    let limits = limits(Shares { connection_rate: share(Throttle::new(rate(2, 1000))), ..Shares::default() });
    let mut house = House::new(2);
    for key in 0..40 {
        house.enqueue(key as usize % 2, &site(&format!("d{key}"), Agent::Mx), key, &limits);
    }
    while house.dialled.len() < 40 {
        house.turn();
        house.close_all();
        house.wait(Duration::from_secs(1));
        assert!(START.until(house.now) < Duration::from_secs(60), "{}", house.dialled.len());
    }
    for pair in house.dialled.windows(3) {
        assert!(pair[0].until(pair[2]) >= Duration::from_millis(999), "{pair:?}");
    }
    assert!(START.until(house.now) <= Duration::from_secs(21), "the rate is used up");
}

#[test]
fn who_waits_is_told_what_for() {
    let clock = |shares| {
        let mut house = House::new(1);
        let (one, limits) = (site("one", Agent::Mx), limits(shares));
        for key in 0..30 {
            house.enqueue(0, &one, key, &limits);
        }
        house.turn();
        let row = house.loops[0].container(&one, house.now).expect("it has mail");
        (row, house.now)
    };
    let throttle = || share(Throttle::new(rate(1, 60_000)));
    let (row, now) = clock(Shares { message_rate: throttle(), ..Shares::default() });
    let until = now.after(Duration::from_secs(60));
    let wait = |what| Wait::Throttled { what, section: "binding.a".into(), until };
    assert_eq!((row.wait, row.looked_at), (wait(Throttled::Messages), Some(until)));
    let full = Permits::new(0, 0);
    let (row, now) = clock(Shares { connections: share(full), ..Shares::default() });
    assert_eq!(row.wait, Wait::AtSharedLimit { section: "binding.a".into(), max: 0 });
    assert_eq!(row.looked_at, Some(now.after(Duration::from_millis(100))));
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue { at: usize, site: usize },
    Turn,
    Close { pick: usize },
    Wait { ms: u64 },
    Limit { max: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_usize..2, 0_usize..6).prop_map(|(at, site)| Step::Enqueue { at, site }),
        4 => Just(Step::Turn),
        4 => any::<usize>().prop_map(|pick| Step::Close { pick }),
        3 => (1_u64..3000).prop_map(|ms| Step::Wait { ms }),
        1 => (1_u32..6).prop_map(|max| Step::Limit { max }),
    ]
}

proptest! {
    /// A shared limit on connections is never exceeded by all loops together, and in the end everything is delivered.
    #[test]
    fn a_shared_limit_is_exact_and_starves_nobody(steps in proptest::collection::vec(step(), 1..200)) {
        let (gate, mut max) = (Permits::new(3, 0), 3);
        let limits = limits(Shares { connections: share(gate.clone()), ..Shares::default() });
        let mut house = House::new(2);
        let sites: Vec<_> = (0..6).map(|n| site(&format!("d{n}"), Agent::Mx)).collect();
        let (mut key, mut open) = (0, 0);
        for step in steps {
            match step {
                Step::Enqueue { at, site } => {
                    key += 1;
                    house.enqueue(at, &sites[site], key, &limits);
                }
                Step::Turn => house.turn(),
                Step::Close { pick } if !house.open.is_empty() => {
                    let (at, connection, _) = house.open.swap_remove(pick % house.open.len());
                    house.loops[at].closed(connection, Closing::Done, house.now);
                }
                Step::Close { .. } => {}
                Step::Wait { ms } => house.now = house.now.after(Duration::from_millis(ms)),
                Step::Limit { max: next } => {
                    gate.set(next, 0);
                    max = next;
                }
            }
            prop_assert_eq!(gate.taken() as usize, house.open.len());
            prop_assert!(house.open.len() <= open.max(max as usize), "a lower limit takes nothing away, and adds nothing");
            open = house.open.len();
        }
        let ends = house.now.after(Duration::from_secs(600));
        while house.leased.len() < key as usize && house.now < ends {
            house.turn();
            house.close_all();
            house.wait(Duration::from_secs(1));
        }
        prop_assert_eq!(house.leased.len(), key as usize);
        let mut by_site: HashMap<_, u32> = HashMap::new();
        house.leased.iter().for_each(|(_, name)| *by_site.entry(name).or_default() += 1);
        prop_assert!(by_site.len() <= 6);
    }
}
