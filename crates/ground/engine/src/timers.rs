//! The timers of one loop: any number of deadlines behind one wake-up of the operating system.
//!
//! A [`Timer`] is 16 bytes and sits in its session. Moving its deadline back, which a session does with every message,
//! is a store: the wheel still fires at the old tick, sees the new deadline and sorts the entry in again, once per
//! time-out rather than once per message. Only a deadline that moves forward touches the wheel at once.
//!
//! Ticks are 10 ms; a timer never fires early and at most one tick late (plus what the loop is busy with).

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    clock::{Alarm, Clock},
    wheel::{Key, Wheel},
};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(10);
const TICK_NANOS: u32 = TICK.subsec_nanos();
const TICKS_PER_SECOND: u64 = 100;
const _: () = assert!(TICKS_PER_SECOND * TICK_NANOS as u64 == 1_000_000_000);
/// How many timers fire before the loop's other tasks get their turn.
const FIRED_PER_TURN_MAX: usize = 1024;
/// The deadline of a timer that is off.
const NEVER: u64 = u64::MAX;

/// The timers of a loop; clones share them.
#[derive(Clone, Debug)]
pub struct Timers {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    origin: Instant,
    wheel: RefCell<Wheel<Node>>,
    /// The tick at which the driver wakes; `NEVER` if it waits for a first timer.
    alarm_tick: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

/// What the wheel holds of a timer.
#[derive(Debug)]
struct Node {
    /// When it is really due; the wheel's own deadline may be earlier.
    deadline: u64,
    fired: bool,
    waiter: Option<Waker>,
}

impl Timers {
    /// Timers on `clock`. They fire only while [`Timers::drive`] runs; a loop sees to that.
    pub fn new(clock: Clock) -> Timers {
        let origin = clock.now();
        let wheel = RefCell::new(Wheel::new(0));
        let shared = Shared { clock, origin, wheel, alarm_tick: Cell::new(NEVER), driver: RefCell::new(None) };
        Timers { shared: Rc::new(shared) }
    }

    /// A timer that fires at `deadline`.
    pub fn at(&self, deadline: Instant) -> Timer {
        self.shared.insert(self.shared.tick_of(deadline))
    }

    /// A timer that fires after `delay`.
    pub fn after(&self, delay: Duration) -> Timer {
        match self.shared.clock.now().checked_add(delay) {
            Some(deadline) => self.at(deadline),
            None => self.off(),
        }
    }

    /// A timer that does not fire until it is set.
    pub fn off(&self) -> Timer {
        let node = Node { deadline: NEVER, fired: false, waiter: None };
        let mut wheel = self.shared.wheel.borrow_mut();
        let key = wheel.insert(NEVER, node);
        wheel.park(key);
        drop(wheel);
        Timer { shared: self.shared.clone(), key }
    }

    /// Waits for `delay`.
    pub async fn sleep(&self, delay: Duration) {
        self.after(delay).wait().await;
    }

    /// How many timers exist.
    pub fn len(&self) -> usize {
        self.shared.wheel.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time as these timers see it.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Fires the timers; never ends. A loop runs exactly one of these.
    pub async fn drive(&self) {
        let mut alarm: Option<Alarm> = None;
        poll_fn(|context| self.shared.poll_drive(&mut alarm, context)).await;
    }
}

impl Shared {
    fn insert(self: &Rc<Self>, deadline: u64) -> Timer {
        let key = self.wheel.borrow_mut().insert(deadline, Node { deadline, fired: false, waiter: None });
        self.wake_driver_for(deadline);
        Timer { shared: self.clone(), key }
    }

    /// Rounded up: a timer is late by less than a tick, never early.
    fn tick_of(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.origin);
        let part = u64::from(since.subsec_nanos().div_ceil(TICK_NANOS));
        since.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(part).min(NEVER - 1)
    }

    /// Rounded down: the tick that has been reached.
    fn tick_now(&self) -> u64 {
        let since = self.clock.now().saturating_duration_since(self.origin);
        since.as_secs().saturating_mul(TICKS_PER_SECOND).saturating_add(u64::from(since.subsec_nanos() / TICK_NANOS))
    }

    fn instant_of(&self, tick: u64) -> Option<Instant> {
        let millis = tick.checked_mul(1000 / TICKS_PER_SECOND)?;
        self.origin.checked_add(Duration::from_millis(millis))
    }

    /// The driver sleeps until the earliest deadline it knew; an earlier one has it look again.
    fn wake_driver_for(&self, deadline: u64) {
        if deadline < self.alarm_tick.get() {
            self.alarm_tick.set(deadline);
            if let Some(driver) = self.driver.borrow().as_ref() {
                driver.wake_by_ref();
            }
        }
    }

    fn poll_drive(&self, alarm: &mut Option<Alarm>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let more = self.fire(self.tick_now());
            if more {
                self.alarm_tick.set(0);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let wake = self.wheel.borrow().next_wake();
            self.alarm_tick.set(wake.unwrap_or(NEVER));
            self.driver.replace_with(|driver| match driver.take() {
                Some(driver) if driver.will_wake(context.waker()) => Some(driver),
                _ => Some(context.waker().clone()),
            });
            let Some(at) = wake.and_then(|tick| self.instant_of(tick)) else {
                return Poll::Pending;
            };
            let alarm = alarm.get_or_insert_with(|| self.clock.alarm(at));
            alarm.set(at);
            if alarm.poll_due(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Fires what is due; `true` if the bound of a turn left some behind.
    fn fire(&self, now: u64) -> bool {
        for _ in 0..FIRED_PER_TURN_MAX {
            let mut wheel = self.wheel.borrow_mut();
            let Some(key) = wheel.peek_due(now) else { return false };
            let node = wheel.get_mut(key).expect("a due entry is in the wheel");
            if node.deadline > now {
                let deadline = node.deadline;
                wheel.reschedule(key, deadline);
                continue;
            }
            node.fired = true;
            let waiter = node.waiter.take();
            wheel.park(key);
            drop(wheel);
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
        true
    }
}

/// A deadline of one owner. Dropping it cancels it. One task waits for it at a time.
#[derive(Debug)]
pub struct Timer {
    shared: Rc<Shared>,
    key: Key,
}

const _: () = assert!(size_of::<Timer>() <= 16);

/// What was waited for did not come before the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("deadline passed")
    }
}

impl std::error::Error for TimedOut {}

impl Timer {
    /// Sets the deadline anew, fired or not. To a later one this is a store.
    pub fn reset(&self, deadline: Instant) {
        self.reset_tick(self.shared.tick_of(deadline));
    }

    /// Sets the deadline to `delay` from now.
    pub fn reset_after(&self, delay: Duration) {
        match self.shared.clock.now().checked_add(delay) {
            Some(deadline) => self.reset(deadline),
            None => self.clear(),
        }
    }

    fn reset_tick(&self, deadline: u64) {
        let mut wheel = self.shared.wheel.borrow_mut();
        let armed = wheel.deadline(self.key).expect("a timer keeps its entry");
        let node = wheel.get_mut(self.key).expect("a timer keeps its entry");
        let idle = node.fired || node.deadline == NEVER;
        node.deadline = deadline;
        node.fired = false;
        if idle || deadline < armed {
            wheel.reschedule(self.key, deadline);
            drop(wheel);
            self.shared.wake_driver_for(deadline);
        }
    }

    /// Switches the timer off until it is set again.
    pub fn clear(&self) {
        let mut wheel = self.shared.wheel.borrow_mut();
        let node = wheel.get_mut(self.key).expect("a timer keeps its entry");
        (node.deadline, node.fired, node.waiter) = (NEVER, false, None);
        wheel.park(self.key);
    }

    /// When it fires or has fired, to the tick; `None` if it is off.
    pub fn deadline(&self) -> Option<Instant> {
        let wheel = self.shared.wheel.borrow();
        let node = wheel.get(self.key).expect("a timer keeps its entry");
        if node.deadline == NEVER { None } else { self.shared.instant_of(node.deadline) }
    }

    /// Whether its deadline has passed (as of the loop's last look at the clock).
    pub fn has_fired(&self) -> bool {
        self.shared.wheel.borrow().get(self.key).is_some_and(|node| node.fired)
    }

    /// Ready once it has fired.
    pub fn poll_fired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut wheel = self.shared.wheel.borrow_mut();
        let node = wheel.get_mut(self.key).expect("a timer keeps its entry");
        if node.fired {
            return Poll::Ready(());
        }
        match &mut node.waiter {
            Some(waiter) if waiter.will_wake(context.waker()) => {}
            waiter => *waiter = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until it fires. The future may be dropped and made anew at no cost.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_fired(context)).await;
    }

    /// Runs `future` until it ends or this timer fires.
    ///
    /// # Errors
    /// [`TimedOut`]; the future is then dropped where it stands.
    pub async fn limit<F: Future>(&self, future: F) -> Result<F::Output, TimedOut> {
        let mut future = pin!(future);
        poll_fn(|context| match Pin::as_mut(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_fired(context).map(|()| Err(TimedOut)),
        })
        .await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let node = self.shared.wheel.borrow_mut().cancel(self.key);
        // Dropped after the borrow has ended: the last reference to a task may go with its waker.
        drop(node);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::clock::{ManualClock, UnixMicros};

    struct Wakes(AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Timers on a manual clock with the driver polled by hand; counts the driver's wake-ups.
    struct Bench {
        timers: Timers,
        hand: ManualClock,
        alarm: Option<Alarm>,
        wakes: Arc<Wakes>,
    }

    impl Bench {
        fn new() -> Bench {
            let (clock, hand) = Clock::manual(UnixMicros(0));
            Bench { timers: Timers::new(clock), hand, alarm: None, wakes: Arc::new(Wakes(AtomicUsize::new(0))) }
        }

        fn drive(&mut self) {
            let waker = Waker::from(self.wakes.clone());
            let polled = self.timers.shared.poll_drive(&mut self.alarm, &mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }

        fn advance(&mut self, millis: u64) {
            self.hand.advance(Duration::from_millis(millis));
            self.drive();
        }

        fn wakes(&self) -> usize {
            self.wakes.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_timer_fires_at_its_deadline_and_wakes_its_waiter() {
        let mut bench = Bench::new();
        let timer = bench.timers.after(Duration::from_millis(95));
        let task = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(task.clone());
        let mut context = Context::from_waker(&waker);
        bench.drive();
        assert!(timer.poll_fired(&mut context).is_pending());
        bench.advance(94);
        assert!(!timer.has_fired());
        bench.advance(6);
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert!(timer.poll_fired(&mut context).is_ready());
    }

    #[test]
    fn a_deadline_that_moves_back_costs_no_wake_up() {
        let mut bench = Bench::new();
        let timer = bench.timers.after(Duration::from_secs(5));
        bench.drive();
        for _ in 0..1000 {
            timer.reset_after(Duration::from_secs(300));
        }
        assert_eq!(bench.wakes(), 0);
        bench.advance(5_000);
        assert!(!timer.has_fired());
        bench.advance(294_990);
        assert!(!timer.has_fired());
        bench.advance(10);
        assert!(timer.has_fired());
    }

    #[test]
    fn an_earlier_deadline_wakes_the_driver_at_once() {
        let mut bench = Bench::new();
        let far = bench.timers.after(Duration::from_secs(60));
        bench.drive();
        let near = bench.timers.after(Duration::from_millis(20));
        assert_eq!(bench.wakes(), 1);
        bench.drive();
        far.reset_after(Duration::from_millis(10));
        assert_eq!(bench.wakes(), 2);
        bench.drive();
        bench.advance(10);
        assert!(far.has_fired() && !near.has_fired());
        bench.advance(10);
        assert!(near.has_fired());
    }

    #[test]
    fn a_fired_timer_can_be_set_again_and_a_cleared_one_stays_silent() {
        let mut bench = Bench::new();
        let timer = bench.timers.after(Duration::from_millis(10));
        bench.drive();
        bench.advance(20);
        assert!(timer.has_fired());
        timer.reset_after(Duration::from_millis(30));
        assert!(!timer.has_fired());
        timer.clear();
        assert_eq!(timer.deadline(), None);
        bench.advance(1_000);
        assert!(!timer.has_fired());
        timer.reset_after(Duration::from_millis(10));
        bench.drive();
        bench.advance(10);
        assert!(timer.has_fired());
        assert!(timer.deadline().is_some());
    }

    #[test]
    fn a_dropped_timer_is_gone() {
        let bench = Bench::new();
        let timers: Vec<Timer> = (0..100).map(|n| bench.timers.after(Duration::from_secs(n))).collect();
        let off = bench.timers.off();
        assert_eq!(bench.timers.len(), 101);
        drop((timers, off));
        assert!(bench.timers.is_empty());
    }

    #[test]
    fn a_flood_of_timers_fires_in_bounded_turns() {
        let mut bench = Bench::new();
        let timers: Vec<Timer> = (0..3000).map(|_| bench.timers.after(Duration::from_millis(10))).collect();
        bench.drive();
        let fired = |timers: &[Timer]| timers.iter().filter(|timer| timer.has_fired()).count();
        bench.hand.advance(Duration::from_millis(10));
        let before = bench.wakes();
        bench.drive();
        assert_eq!(fired(&timers), FIRED_PER_TURN_MAX);
        assert!(bench.wakes() > before, "it asks for another turn");
        bench.drive();
        bench.drive();
        assert_eq!(fired(&timers), 3000);
    }
}
