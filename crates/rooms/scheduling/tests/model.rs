//! Whatever happens in whatever order: every recipient ends exactly once, never starts before its time, and no limit
//! is exceeded. A plain model notes what the scheduler says and compares.

mod clockwork;

use clockwork::{Clockwork, START, site};
use message::{Agent, Attempted, Closing, Container, Lease, Outcome, Queued, StoreKey, UnixMicros, Verdict, Work};
use proptest::prelude::*;
use scheduling::{Flow, Limits, Permits, Ramp, Retries, RetryPolicy};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const SITES: usize = 4;
const PERMITS: u32 = 5;
const RESERVE: u32 = 2;
const TICK: Duration = Duration::from_millis(125);

#[derive(Clone, Debug)]
enum Step {
    Enqueue { site: usize, recipients: u16, delay_s: u64, age_s: u64 },
    Wait { seconds: u64 },
    Dial,
    Lease { pick: usize, most: usize },
    Attempt { pick: usize, verdict: Verdict },
    Close { pick: usize, closing: Closing },
    Report { verdict: Verdict },
    Flush { site: usize },
    Flow { site: usize, flow: Flow },
    Withdraw { site: usize, limit: usize },
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Delivered),
        4 => Just(Verdict::Transient),
        1 => Just(Verdict::Permanent),
        1 => Just(Verdict::Untried),
    ]
}

fn closing() -> impl Strategy<Value = Closing> {
    prop_oneof![
        Just(Closing::Done),
        Just(Closing::Unreachable),
        Just(Closing::Rebuffed),
        Just(Closing::NoExit),
        Just(Closing::Unresolved),
        Just(Closing::HostsFull),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![3 => Just(0), 1 => 1_u64..4000];
    let age = prop_oneof![3 => Just(0), 1 => 1_u64..2500];
    prop_oneof![
        6 => (0..SITES, 1_u16..5, delay, age)
            .prop_map(|(site, recipients, delay_s, age_s)| Step::Enqueue { site, recipients, delay_s, age_s }),
        4 => (1_u64..400).prop_map(|seconds| Step::Wait { seconds }),
        6 => Just(Step::Dial),
        8 => (any::<usize>(), 1_usize..6).prop_map(|(pick, most)| Step::Lease { pick, most }),
        9 => (any::<usize>(), verdict()).prop_map(|(pick, verdict)| Step::Attempt { pick, verdict }),
        2 => (any::<usize>(), closing()).prop_map(|(pick, closing)| Step::Close { pick, closing }),
        2 => prop_oneof![Just(Verdict::Permanent), Just(Verdict::Transient), Just(Verdict::Untried)]
            .prop_map(|verdict| Step::Report { verdict }),
        1 => (0..SITES).prop_map(|site| Step::Flush { site }),
        1 => (0..SITES, prop_oneof![Just(Flow::Flowing), Just(Flow::Suspended)])
            .prop_map(|(site, flow)| Step::Flow { site, flow }),
        1 => (0..SITES, 0_usize..4).prop_map(|(site, limit)| Step::Withdraw { site, limit }),
    ]
}

/// What the model knows of a recipient.
#[derive(Clone, Debug)]
struct Known {
    site: usize,
    received: UnixMicros,
    not_before: UnixMicros,
    attempts: u16,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    Leased,
    Reported,
    Ended,
}

struct Model {
    clockwork: Clockwork,
    sites: Vec<Arc<Container>>,
    /// What the operator said last.
    flows: Vec<Flow>,
    known: HashMap<(u64, u16), Known>,
    keys: u64,
    /// Entry, key, recipient.
    leased: Vec<(u32, u64, u16)>,
    connections: Vec<(u32, usize)>,
}

impl Model {
    fn new(limits: Limits) -> Self {
        let agents = [Agent::Mx, Agent::Mx, Agent::Discard, Agent::Hold];
        let sites = agents.into_iter().enumerate().map(|(n, agent)| site(&format!("s{n}"), agent)).collect();
        let clockwork = Clockwork::new(limits, Permits::new(PERMITS, RESERVE));
        let flows = vec![Flow::Flowing; SITES];
        Self { clockwork, sites, flows, known: HashMap::new(), keys: 0, leased: vec![], connections: vec![] }
    }

    fn site_of(&self, container: &Container) -> usize {
        self.sites.iter().position(|site| **site == *container).expect("a container of ours")
    }

    fn retry(&self) -> &RetryPolicy {
        &self.clockwork.limits.retry
    }

    fn enqueue(&mut self, site: usize, recipients: u16, delay_s: u64, age_s: u64) {
        self.keys += 1;
        let now = self.clockwork.now;
        let received = UnixMicros(now.0 - age_s * 1_000_000);
        let not_before = if delay_s == 0 { UnixMicros(0) } else { now.after(Duration::from_secs(delay_s)) };
        for recipient in 0..recipients {
            let queued = Queued { received, not_before, ..self.clockwork.queued(self.keys, recipient) };
            let place = Place::Waiting;
            self.known.insert((self.keys, recipient), Known { site, received, not_before, attempts: 0, place });
            let container = Arc::clone(&self.sites[site]);
            self.clockwork.enqueue(&container, queued);
        }
    }

    fn dial(&mut self) {
        let taken = self.clockwork.permits.taken();
        let Some(dial) = self.clockwork.scheduler.poll_dial(self.clockwork.now) else { return };
        let site = self.site_of(&dial.container);
        assert_eq!(self.flows[site], Flow::Flowing);
        assert_ne!(dial.container.agent, Agent::Hold);
        let before = self.connections.iter().filter(|&&(_, other)| other == site).count() as u32;
        let room = if before == 0 { PERMITS + RESERVE } else { PERMITS };
        assert!(taken < room, "{before} connections, {taken} permits taken");
        assert!(before < self.clockwork.limits.max_connections);
        assert!(self.connections.iter().all(|&(other, _)| other != dial.connection));
        self.connections.push((dial.connection, site));
    }

    fn lease(&mut self, pick: usize, most: usize) {
        if self.connections.is_empty() {
            return;
        }
        let (connection, site) = self.connections[pick % self.connections.len()];
        let now = self.clockwork.now;
        let Some(lease) = self.clockwork.scheduler.lease(connection, most, now) else { return };
        assert_eq!(self.flows[site], Flow::Flowing);
        assert!(!lease.recipients.is_empty() && lease.recipients.len() <= most.min(3));
        let retry = self.retry().clone();
        for leased in &lease.recipients {
            let known = self.known.get_mut(&(lease.key.0, leased.recipient)).expect("a recipient of ours");
            assert_eq!((known.place, known.site, known.received), (Place::Waiting, site, lease.received));
            assert!(known.not_before <= now, "leased {:?} too early", known.not_before.0 - now.0);
            assert!(retry.expires(known.received) > now, "leased when it was too old");
            known.attempts += 1;
            assert_eq!(leased.attempts, known.attempts);
            known.place = Place::Leased;
            self.leased.push((leased.entry, lease.key.0, leased.recipient));
        }
    }

    fn attempt(&mut self, pick: usize, verdict: Verdict) {
        if self.leased.is_empty() {
            return;
        }
        let (entry, key, recipient) = self.leased.swap_remove(pick % self.leased.len());
        let now = self.clockwork.now;
        let attempted = self.clockwork.scheduler.attempted(entry, verdict, now);
        let retry = self.retry().clone();
        let known = self.known.get_mut(&(key, recipient)).expect("a recipient of ours");
        let expires = retry.expires(known.received);
        match (known.place, verdict, attempted) {
            (Place::Leased, Verdict::Untried, Attempted::Returned) => {
                known.attempts -= 1;
                known.place = Place::Waiting;
            }
            (Place::Reported, Verdict::Untried, Attempted::Returned) => known.place = Place::Waiting,
            (Place::Leased, Verdict::Transient, Attempted::Settled(Outcome::Deferred { until, attempts })) => {
                assert_eq!(attempts, known.attempts);
                let delay = retry.interval.saturating_mul(1 << (attempts - 1).min(20)).min(retry.interval_max);
                let (least, most) = (now.after(delay * 9 / 10), now.after(delay * 11 / 10 + TICK));
                let by_formula = least <= until && until <= most;
                let by_age = expires <= until && until <= expires.after(TICK) && until <= most;
                assert!(by_formula || by_age, "attempt {attempts}: {:?}", now.until(until));
                assert!(now < expires && until <= expires.after(TICK), "waits beyond its end");
                if let Retries::AtMost(most) = retry.retries {
                    assert!(attempts <= most);
                }
                known.not_before = until;
                known.place = Place::Waiting;
            }
            (Place::Leased, Verdict::Transient, Attempted::Expired) => {
                let longest = retry.delay(known.attempts) * 11 / 10 + TICK;
                match retry.retries {
                    Retries::Auto => assert!(now.after(longest) >= expires, "given up too early"),
                    Retries::Unlimited => assert!(now >= expires),
                    Retries::AtMost(most) => assert!(known.attempts > most || now >= expires),
                }
                known.place = Place::Ended;
            }
            (Place::Reported, Verdict::Transient, Attempted::Expired)
            | (_, Verdict::Permanent, Attempted::Settled(Outcome::Failed))
            | (_, Verdict::Delivered, Attempted::Settled(Outcome::Delivered)) => known.place = Place::Ended,
            odd => panic!("{odd:?}"),
        }
    }

    fn close(&mut self, pick: usize, closing: Closing) {
        if !self.connections.is_empty() {
            let (connection, _) = self.connections.swap_remove(pick % self.connections.len());
            self.clockwork.scheduler.closed(connection, closing, self.clockwork.now);
        }
    }

    /// Takes the next expired message; its recipients are given back by a later step.
    fn report(&mut self) -> Option<Lease> {
        let now = self.clockwork.now;
        let (container, lease) = self.clockwork.scheduler.poll_expired(now)?;
        let site = self.site_of(&container);
        assert_ne!(container.agent, Agent::Hold, "what is held does not expire");
        for leased in &lease.recipients {
            let known = self.known.get_mut(&(lease.key.0, leased.recipient)).expect("a recipient of ours");
            assert_eq!((known.place, known.site, known.attempts), (Place::Waiting, site, leased.attempts));
            assert!(self.clockwork.limits.retry.expires(known.received) <= now, "expired too early");
            known.place = Place::Reported;
            self.leased.push((leased.entry, lease.key.0, leased.recipient));
        }
        Some(lease)
    }

    fn withdraw(&mut self, site: usize, limit: usize) -> usize {
        let taken = self.clockwork.scheduler.withdraw(&self.sites[site], limit, self.clockwork.now);
        assert!(taken.len() <= limit);
        for queued in &taken {
            let known = self.known.get_mut(&(queued.key.0, queued.recipient)).expect("a recipient of ours");
            assert_eq!((known.place, known.site, known.attempts), (Place::Waiting, site, queued.attempts));
            known.place = Place::Ended;
        }
        taken.len()
    }

    fn flush(&mut self, site: usize) {
        if self.clockwork.scheduler.flush(&self.sites[site], self.clockwork.now) {
            for known in self.known.values_mut().filter(|known| known.site == site && known.place == Place::Waiting) {
                known.not_before = UnixMicros(0);
            }
        }
    }

    fn set_flow(&mut self, site: usize, flow: Flow) {
        if self.clockwork.scheduler.set_flow(&self.sites[site], flow, self.clockwork.now) {
            self.flows[site] = flow;
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enqueue { site, recipients, delay_s, age_s } => self.enqueue(site, recipients, delay_s, age_s),
            Step::Wait { seconds } => self.clockwork.wait(seconds),
            Step::Dial => self.dial(),
            Step::Lease { pick, most } => self.lease(pick, most),
            Step::Attempt { pick, verdict } => self.attempt(pick, verdict),
            Step::Close { pick, closing } => self.close(pick, closing),
            Step::Report { verdict } => {
                if let Some(lease) = self.report() {
                    for _ in &lease.recipients {
                        self.attempt(self.leased.len() - 1, verdict);
                    }
                }
            }
            Step::Flush { site } => self.flush(site),
            Step::Flow { site, flow } => self.set_flow(site, flow),
            Step::Withdraw { site, limit } => {
                self.withdraw(site, limit);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        let now = self.clockwork.now;
        for (n, site) in self.sites.iter().enumerate() {
            if self.clockwork.scheduler.container(site, now).is_none() {
                self.flows[n] = Flow::Flowing; // It was forgotten together with its container.
            }
        }
        let summary = self.clockwork.scheduler.summary();
        let count = |place| self.known.values().filter(|known| known.place == place).count() as u32;
        assert_eq!(summary.active + summary.delayed + summary.expired, count(Place::Waiting));
        assert_eq!(summary.leased, count(Place::Leased));
        assert_eq!(summary.connections, self.connections.len());
        assert_eq!(self.clockwork.permits.taken() as usize, self.connections.len());
        let listed: usize = self.sites.iter().map(|site| self.clockwork.scheduler.entries(site, 10_000).len()).sum();
        assert_eq!(listed as u32, summary.active + summary.delayed);
    }

    /// From here on next hops and clock behave: everything must end, and the scheduler must forget it.
    fn drain(&mut self) {
        for site in 0..SITES {
            self.set_flow(site, Flow::Flowing);
        }
        for _ in 0..400 {
            while self.clockwork.scheduler.poll_wake(self.clockwork.now) == Some(Duration::ZERO) {
                let before = (self.connections.len(), self.clockwork.scheduler.summary());
                self.dial();
                self.report();
                while !self.leased.is_empty() {
                    let reported = self.leased.len() - 1;
                    let place = self.known[&(self.leased[reported].1, self.leased[reported].2)].place;
                    let verdict = if place == Place::Reported { Verdict::Permanent } else { Verdict::Delivered };
                    self.attempt(reported, verdict);
                }
                let idle = before == (self.connections.len(), self.clockwork.scheduler.summary());
                assert!(
                    !idle || self.clockwork.scheduler.poll_wake(self.clockwork.now) != Some(Duration::ZERO),
                    "spins"
                );
            }
            while !self.connections.is_empty() {
                loop {
                    self.lease(0, 100);
                    if self.leased.is_empty() {
                        break;
                    }
                    while !self.leased.is_empty() {
                        self.attempt(0, Verdict::Delivered);
                    }
                }
                self.close(0, Closing::Done);
            }
            self.compare();
            while self.withdraw(3, 1) > 0 {}
            match self.clockwork.scheduler.poll_wake(self.clockwork.now) {
                Some(wake) => self.clockwork.now = self.clockwork.now.after(wake),
                None => break,
            }
        }
        let left: Vec<_> = self.known.iter().filter(|(_, known)| known.place != Place::Ended).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.clockwork.scheduler.summary(), scheduling::Summary::default());
        assert_eq!(self.clockwork.scheduler.poll_wake(self.clockwork.now), None);
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let retries = prop_oneof![Just(Retries::Auto), Just(Retries::Unlimited), (0_u16..4).prop_map(Retries::AtMost)];
    let ramp = prop_oneof![Just(Ramp::Gradual), Just(Ramp::Straight)];
    (retries, ramp, 1_u32..4).prop_map(|(retries, ramp, max_connections)| Limits {
        max_connections,
        max_recipients_per_batch: 3,
        ramp,
        flow: Flow::Flowing,
        curfew: vec![],
        retry: RetryPolicy {
            interval: Duration::from_secs(100),
            interval_max: Duration::from_secs(300),
            jitter_percent: 10,
            retries,
            expiration: Duration::from_secs(2000),
            age_max: None,
        },
        give_up: scheduling::GiveUp::default(),
        resident_failures_max: 3,
        shares: scheduling::Shares::default(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_recipient_ends_exactly_once(limits in limits(), steps in proptest::collection::vec(step(), 1..250)) {
        let mut model = Model::new(limits);
        for step in steps {
            model.take(step);
        }
        model.drain();
    }

    #[test]
    fn first_come_first_served_without_failures(sizes in proptest::collection::vec(1_u16..6, 1..60), most in 1_usize..8) {
        let mut clockwork = Clockwork::new(Limits::default(), Permits::new(1, 0));
        let container = site("fifo", Agent::Mx);
        let mut expected = vec![];
        for &recipients in &sizes {
            let StoreKey(key) = clockwork.message(&container, recipients);
            expected.extend((0..recipients).map(|recipient| (key, recipient)));
        }
        let dials = clockwork.dial_all();
        let mut order = vec![];
        while let Some(lease) = clockwork.scheduler.lease(dials[0].connection, most, START) {
            let whole = sizes[lease.key.0 as usize - 1] as usize;
            prop_assert!(lease.recipients.len() == most.min(whole) || most < whole, "recipients of a message go together");
            for leased in lease.recipients {
                order.push((lease.key.0, leased.recipient));
                clockwork.scheduler.attempted(leased.entry, Verdict::Delivered, START);
            }
        }
        prop_assert_eq!(order, expected);
    }
}
