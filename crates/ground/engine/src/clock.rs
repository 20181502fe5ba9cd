//! The clock: monotonic time for deadlines and wall-clock time for records.
//!
//! Everybody who needs `now` gets a [`Clock`] passed in; nobody calls `Instant::now` himself, so that a test can run a
//! whole server on a [`ManualClock`]. A system clock reads the vDSO on every call (about 25 ns, no system call), which
//! is why no cached copy is kept: a cache would save less than its staleness costs.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Wall-clock time: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Whole seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This time and `duration` more; stays at the maximum where it would overflow.
    pub fn saturating_add(self, duration: Duration) -> UnixMicros {
        UnixMicros(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn saturating_since(self, earlier: UnixMicros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Where time comes from. Cheap to clone; all clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Hands>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock { source: Source::System }
    }

    /// A clock that stands still until its [`ManualClock`] moves it. It starts at `epoch` on the wall.
    pub fn manual(epoch: UnixMicros) -> (Clock, ManualClock) {
        let hands = Arc::new(Hands { origin: Instant::now(), epoch, state: Mutex::new(HandsState::default()) });
        (Clock { source: Source::Manual(hands.clone()) }, ManualClock { hands })
    }

    /// Monotonic time, for deadlines.
    pub fn now(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Manual(hands) => hands.now(),
        }
    }

    /// Wall-clock time, for records. It may jump when the administrator sets the machine's clock.
    pub fn unix(&self) -> UnixMicros {
        match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            }
            Source::Manual(hands) => hands.epoch.saturating_add(hands.now() - hands.origin),
        }
    }

    /// A future that ends at `deadline` and can be set again. Loops use one each; sessions use [`crate::Timers`].
    pub fn alarm(&self, deadline: Instant) -> Alarm {
        match &self.source {
            Source::System => Alarm { kind: AlarmKind::System(Box::pin(tokio::time::sleep_until(deadline.into()))) },
            Source::Manual(hands) => Alarm { kind: AlarmKind::Manual { hands: hands.clone(), deadline } },
        }
    }
}

/// One wake-up at a time of a [`Clock`].
#[derive(Debug)]
pub struct Alarm {
    kind: AlarmKind,
}

#[derive(Debug)]
enum AlarmKind {
    System(Pin<Box<tokio::time::Sleep>>),
    Manual { hands: Arc<Hands>, deadline: Instant },
}

impl Alarm {
    /// Moves the alarm; it must be polled again afterwards.
    pub fn set(&mut self, to: Instant) {
        match &mut self.kind {
            AlarmKind::System(sleep) => sleep.as_mut().reset(to.into()),
            AlarmKind::Manual { deadline, .. } => *deadline = to,
        }
    }

    /// Ready once the deadline has come.
    pub fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.kind {
            AlarmKind::System(sleep) => sleep.as_mut().poll(context),
            AlarmKind::Manual { hands, deadline } => hands.poll_until(*deadline, context),
        }
    }

    /// Waits for the deadline.
    pub async fn due(&mut self) {
        poll_fn(|context| self.poll_due(context)).await;
    }
}

/// Moves a manual [`Clock`]; every alarm that has become due is woken.
#[derive(Clone, Debug)]
pub struct ManualClock {
    hands: Arc<Hands>,
}

impl ManualClock {
    /// Moves monotonic and wall-clock time forward together.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.hands.lock();
            state.elapsed += by;
            let now = self.hands.origin + state.elapsed;
            let (due, waiting) = state.sleepers.drain(..).partition::<Vec<_>, _>(|(at, _)| *at <= now);
            state.sleepers = waiting;
            due
        };
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// The earliest deadline that somebody waits for, so that a simulation can jump to it.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.hands.lock().sleepers.iter().map(|(at, _)| *at).min()
    }
}

struct Hands {
    origin: Instant,
    epoch: UnixMicros,
    state: Mutex<HandsState>,
}

#[derive(Default)]
struct HandsState {
    elapsed: Duration,
    sleepers: Vec<(Instant, Waker)>,
}

impl Hands {
    fn lock(&self) -> std::sync::MutexGuard<'_, HandsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        self.origin + self.lock().elapsed
    }

    /// One entry a task and deadline: a sleeper that polls again replaces its own.
    fn poll_until(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if self.origin + state.elapsed >= deadline {
            return Poll::Ready(());
        }
        state.sleepers.retain(|(at, waker)| *at != deadline || !waker.will_wake(context.waker()));
        state.sleepers.push((deadline, context.waker().clone()));
        Poll::Pending
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hands").field("elapsed", &self.lock().elapsed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::System => f.write_str("System"),
            Source::Manual(hands) => hands.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let (clock, hand) = Clock::manual(UnixMicros(1_000_000));
        let start = clock.now();
        assert_eq!(clock.now(), start);
        hand.advance(Duration::from_millis(1500));
        assert_eq!(clock.now() - start, Duration::from_millis(1500));
        assert_eq!(clock.unix(), UnixMicros(2_500_000));
        assert_eq!(clock.unix().seconds(), 2);
    }

    #[test]
    fn the_system_clock_shows_this_century() {
        let clock = Clock::system();
        assert!(clock.unix() > UnixMicros(1_700_000_000_000_000));
        let before = clock.now();
        assert!(clock.now() >= before);
    }

    #[test]
    fn a_manual_alarm_rings_at_its_deadline_and_not_before() {
        let (clock, hand) = Clock::manual(UnixMicros(0));
        let mut alarm = clock.alarm(clock.now() + Duration::from_secs(2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(alarm.poll_due(&mut context).is_pending());
        assert_eq!(hand.next_deadline(), Some(clock.now() + Duration::from_secs(2)));
        hand.advance(Duration::from_millis(1999));
        assert!(alarm.poll_due(&mut context).is_pending());
        hand.advance(Duration::from_millis(1));
        assert!(alarm.poll_due(&mut context).is_ready());
        assert_eq!(hand.next_deadline(), None);
    }

    #[test]
    fn wall_clock_arithmetic_saturates() {
        assert_eq!(UnixMicros(5).saturating_since(UnixMicros(9)), Duration::ZERO);
        assert_eq!(UnixMicros(9).saturating_since(UnixMicros(5)), Duration::from_micros(4));
        assert_eq!(UnixMicros(u64::MAX).saturating_add(Duration::from_secs(1)), UnixMicros(u64::MAX));
    }
}
