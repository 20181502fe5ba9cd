//! The source addresses of a loop: which is used next, and which are left aside because they do not work. Asked by
//! `host` for each connection; it never looks at the machine's interfaces, only at what became of connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections to different hosts that must fail one after the other before the address is blamed.
const FAILURES_IN_ROW: u32 = 10;
/// How long an address is left aside, one step further each time.
const PENALTIES_S: [u64; 6] = [60, 120, 300, 900, 1800, 3600];
/// Addresses with a history at most; beyond it the healthy are forgotten, who have little of it.
const STATES_MAX: usize = 65_536;

/// What to bind a connection to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The kernel chooses.
    Any,
    /// This address.
    Address(IpAddr),
    /// There are source addresses, and none is of the remote's family.
    Missing,
}

/// An address that is left aside, or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The address.
    pub address: IpAddr,
    /// Connections to different hosts that failed since the last success.
    pub failures: u32,
    /// How long it is left aside; `None` if it is in use.
    pub aside_for: Option<Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    states: RefCell<HashMap<IpAddr, State>>,
    /// Whose turn it is in each list, by its first address: with one turn for all, two bindings whose connections
    /// alternate would each keep to one address.
    turns: RefCell<HashMap<IpAddr, usize>>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    last_peer: Option<IpAddr>,
    penalties: usize,
    until: Option<Instant>,
}

impl Sources {
    /// The next of the configured addresses of the remote's family, in turn. Those left aside are passed over; if all
    /// are, the one whose time is up first is tried: a wrong guess must not stop a binding for good.
    pub(crate) fn pick(&self, sources: &[IpAddr], remote: SocketAddr, now: Instant) -> Source {
        let fits = |source: &&IpAddr| source.is_ipv4() == remote.is_ipv4() && !source.is_unspecified();
        let count = sources.iter().filter(fits).count();
        if count == 0 {
            let free = sources.is_empty() || sources.iter().any(IpAddr::is_unspecified);
            return if free { Source::Any } else { Source::Missing };
        }
        let turn = if count > 1 { self.turn(sources.iter().find(fits)) } else { 0 };
        let states = self.states.borrow();
        let until = |ip: &IpAddr| states.get(ip).and_then(|state| state.until).filter(|&until| until > now);
        let in_turn = || sources.iter().filter(fits).cycle().skip(turn % count).take(count);
        let healthy = in_turn().find(|ip| until(ip).is_none());
        let chosen = healthy.or_else(|| in_turn().min_by_key(|ip| until(ip)));
        chosen.map_or(Source::Any, |&ip| Source::Address(ip))
    }

    /// Whose turn it is in the list that begins with `first`.
    fn turn(&self, first: Option<&IpAddr>) -> usize {
        let Some(first) = first else { return 0 };
        let mut turns = self.turns.borrow_mut();
        if turns.len() >= STATES_MAX && !turns.contains_key(first) {
            turns.clear();
        }
        let turn = turns.entry(*first).or_default();
        std::mem::replace(turn, turn.wrapping_add(1))
    }

    /// The address could not be used at all: it is not this machine's, or has no port left.
    pub(crate) fn on_unusable(&self, source: IpAddr, now: Instant) {
        self.with(source, |state| state.set_aside(now));
    }

    /// A host did not answer a connection from there. Hosts fail as well, so that one alone says little.
    pub(crate) fn on_unanswered(&self, source: IpAddr, peer: IpAddr, now: Instant) {
        self.with(source, |state| {
            if state.last_peer.replace(peer) != Some(peer) {
                state.failures += 1;
            }
            if state.failures >= FAILURES_IN_ROW {
                state.set_aside(now);
            }
        });
    }

    /// A host answered a connection from there.
    pub(crate) fn on_answered(&self, source: IpAddr) {
        self.states.borrow_mut().remove(&source);
    }

    /// The addresses that have failed since their last success.
    pub(crate) fn rows(&self, now: Instant) -> Vec<SourceRow> {
        let row = |(&address, state): (&IpAddr, &State)| SourceRow {
            address,
            failures: state.failures,
            aside_for: state.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero()),
        };
        self.states.borrow().iter().map(row).collect()
    }

    fn with(&self, source: IpAddr, change: impl FnOnce(&mut State)) {
        let mut states = self.states.borrow_mut();
        if states.len() >= STATES_MAX && !states.contains_key(&source) {
            states.retain(|_, state| state.until.is_some());
            if states.len() >= STATES_MAX {
                return;
            }
        }
        change(states.entry(source).or_default());
    }
}

impl State {
    fn set_aside(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until > now) {
            return; // Connections that began together fail together.
        }
        let step = self.penalties.min(PENALTIES_S.len() - 1);
        self.until = Some(now + Duration::from_secs(PENALTIES_S[step]));
        self.penalties += 1;
        self.failures = 0;
        self.last_peer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn lists_take_turns_by_themselves() {
        let (sources, now) = (Sources::default(), Instant::now());
        let (shop, pool) = (addresses(&["127.0.2.1", "127.0.2.2"]), addresses(&["127.0.3.1", "127.0.3.2"]));
        let remote = "198.51.100.1:25".parse().unwrap();
        for turn in 0..6 {
            assert_eq!(sources.pick(&shop, remote, now), Source::Address(shop[turn % 2]));
            assert_eq!(sources.pick(&pool, remote, now), Source::Address(pool[turn % 2]));
            assert_eq!(sources.pick(&pool[..1], remote, now), Source::Address(pool[0]));
        }
    }

    #[test]
    fn addresses_of_the_right_family_take_turns() {
        let all = addresses(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        let (v4, v6) = ("198.51.100.1:25".parse().unwrap(), "[2001:db8::9]:25".parse().unwrap());
        let (sources, now) = (Sources::default(), Instant::now());
        let picks: Vec<_> = (0..4).map(|_| sources.pick(&all, v4, now)).collect();
        assert_eq!(picks, [all[0], all[2], all[0], all[2]].map(Source::Address));
        assert_eq!(sources.pick(&all, v6, now), Source::Address(all[1]));
        assert_eq!(sources.pick(&[], v4, now), Source::Any);
        assert_eq!(sources.pick(&addresses(&["0.0.0.0"]), v6, now), Source::Any);
        assert_eq!(sources.pick(&all[..1], v6, now), Source::Missing, "another identity than the configured one");
    }

    #[test]
    fn what_cannot_be_used_is_left_aside_longer_and_longer() {
        let all = addresses(&["192.0.2.1", "192.0.2.2"]);
        let remote = "198.51.100.1:25".parse().unwrap();
        let (sources, mut now) = (Sources::default(), Instant::now());
        for (step, penalty) in PENALTIES_S.into_iter().enumerate() {
            sources.on_unusable(all[0], now);
            for _ in 0..4 {
                assert_eq!(sources.pick(&all, remote, now), Source::Address(all[1]), "{step}");
            }
            now += Duration::from_secs(penalty);
            let picks = [sources.pick(&all, remote, now), sources.pick(&all, remote, now)];
            assert!(picks.contains(&Source::Address(all[0])), "it is tried again");
        }
        sources.on_answered(all[0]);
        assert!(sources.rows(now).is_empty());
    }

    #[test]
    fn one_dead_host_says_nothing_and_ten_do() {
        let (source, now) = (addresses(&["192.0.2.1"])[0], Instant::now());
        let sources = Sources::default();
        let is_aside = || sources.rows(now).iter().any(|row| row.aside_for.is_some());
        for _ in 0..100 {
            sources.on_unanswered(source, "198.51.100.1".parse().unwrap(), now);
        }
        assert!(!is_aside());
        for host in 2..=u8::try_from(FAILURES_IN_ROW).unwrap() {
            assert!(!is_aside(), "{host}");
            sources.on_unanswered(source, IpAddr::from([198, 51, 100, host]), now);
        }
        assert!(is_aside());
    }

    #[test]
    fn when_all_are_aside_the_first_to_come_back_is_tried() {
        let all = addresses(&["192.0.2.1", "192.0.2.2"]);
        let (sources, now) = (Sources::default(), Instant::now());
        sources.on_unusable(all[1], now);
        sources.on_unusable(all[0], now + Duration::from_secs(1));
        let pick = sources.pick(&all, "198.51.100.1:25".parse().unwrap(), now + Duration::from_secs(2));
        assert_eq!(pick, Source::Address(all[1]));
    }
}
