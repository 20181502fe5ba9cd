//! Named counters and gauges: each thread counts on cells of its own, a reader sums them.
//!
//! A name is registered once ([`Gauges::counter`], [`Gauges::gauge`]); each thread takes a [`GaugeShard`] and from it
//! the [`Counter`]s and [`Gauge`]s it needs. Counting is a relaxed load and store on a line that no other thread writes.
//! Shards outlive their threads, so that no count is lost when one ends.

use std::{
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::tally::Tally;

/// How many names a registry holds; each costs 8 bytes a thread.
pub const GAUGES_MAX: usize = 2048;

/// The registry. Cheap to clone; all clones are one registry.
#[derive(Clone, Default)]
pub struct Gauges {
    inner: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    names: Vec<(Arc<str>, Kind)>,
    shards: Vec<Arc<[Tally]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// A registered counter: it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterId(u16);

/// A registered gauge: it goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeId(u16);

/// Why a name could not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GaugeError {
    /// There are [`GAUGES_MAX`] names already.
    Full,
    /// The name is a counter where a gauge was asked for, or the other way round.
    OtherKind,
}

impl fmt::Display for GaugeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GaugeError::Full => write!(f, "all {GAUGES_MAX} names for counters and gauges are taken"),
            GaugeError::OtherKind => f.write_str("name is registered as the other kind of number"),
        }
    }
}

impl std::error::Error for GaugeError {}

/// One number of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The registered name.
    pub name: Arc<str>,
    /// The sum over all threads.
    pub value: Value,
}

/// A sum over all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a counter.
    Counter(u64),
    /// Of a gauge.
    Gauge(i64),
}

impl Gauges {
    /// An empty registry.
    pub fn new() -> Gauges {
        Gauges::default()
    }

    /// Registers a counter; the same name gives the same counter.
    ///
    /// # Errors
    /// See [`GaugeError`].
    pub fn counter(&self, name: &str) -> Result<CounterId, GaugeError> {
        self.register(name, Kind::Counter).map(CounterId)
    }

    /// Registers a gauge; the same name gives the same gauge.
    ///
    /// # Errors
    /// See [`GaugeError`].
    pub fn gauge(&self, name: &str) -> Result<GaugeId, GaugeError> {
        self.register(name, Kind::Gauge).map(GaugeId)
    }

    fn register(&self, name: &str, kind: Kind) -> Result<u16, GaugeError> {
        let mut registry = self.lock();
        let known = registry.names.iter().position(|(n, _)| &**n == name);
        let index = match known {
            Some(index) if registry.names[index].1 == kind => index,
            Some(_) => return Err(GaugeError::OtherKind),
            None if registry.names.len() == GAUGES_MAX => return Err(GaugeError::Full),
            None => {
                registry.names.push((name.into(), kind));
                registry.names.len() - 1
            }
        };
        Ok(u16::try_from(index).expect("GAUGES_MAX fits 16 bits"))
    }

    /// Cells for the calling thread. A thread takes one and keeps it.
    pub fn shard(&self) -> GaugeShard {
        let cells: Arc<[Tally]> = (0..GAUGES_MAX).map(|_| Tally::default()).collect();
        self.lock().shards.push(cells.clone());
        GaugeShard { cells: Rc::new(cells) }
    }

    /// The sum of one counter over all threads.
    pub fn read_counter(&self, id: CounterId) -> u64 {
        self.lock().sum(id.0)
    }

    /// The sum of one gauge over all threads.
    pub fn read_gauge(&self, id: GaugeId) -> i64 {
        self.lock().sum(id.0).cast_signed()
    }

    /// All numbers, in the order of their registration.
    pub fn snapshot(&self) -> Vec<Reading> {
        let registry = self.lock();
        let readings = registry.names.iter().zip(0u16..).map(|((name, kind), index)| {
            let sum = registry.sum(index);
            let value = match kind {
                Kind::Counter => Value::Counter(sum),
                Kind::Gauge => Value::Gauge(sum.cast_signed()),
            };
            Reading { name: name.clone(), value }
        });
        readings.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn sum(&self, index: u16) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard[usize::from(index)].get()))
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = self.lock();
        f.debug_struct("Gauges").field("names", &registry.names.len()).field("shards", &registry.shards.len()).finish()
    }
}

/// One thread's cells. It stays on its thread, so that every cell has one writer.
#[derive(Clone, Debug)]
pub struct GaugeShard {
    cells: Rc<Arc<[Tally]>>,
}

impl GaugeShard {
    /// This thread's part of a counter.
    pub fn counter(&self, id: CounterId) -> Counter {
        Counter { cells: self.cells.clone(), index: id.0 }
    }

    /// This thread's part of a gauge.
    pub fn gauge(&self, id: GaugeId) -> Gauge {
        Gauge { cells: self.cells.clone(), index: id.0 }
    }
}

/// One thread's part of a counter.
#[derive(Clone, Debug)]
pub struct Counter {
    cells: Rc<Arc<[Tally]>>,
    index: u16,
}

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.cells[usize::from(self.index)].add(n);
    }

    /// What this thread has counted.
    pub fn own(&self) -> u64 {
        self.cells[usize::from(self.index)].get()
    }
}

/// One thread's part of a gauge.
#[derive(Clone, Debug)]
pub struct Gauge {
    cells: Rc<Arc<[Tally]>>,
    index: u16,
}

impl Gauge {
    /// Raises this thread's part.
    pub fn add(&self, n: u64) {
        self.cells[usize::from(self.index)].add(n);
    }

    /// Lowers this thread's part; it may go below zero while another thread's part is above.
    pub fn sub(&self, n: u64) {
        self.cells[usize::from(self.index)].sub(n);
    }

    /// Sets this thread's part.
    pub fn set(&self, n: i64) {
        self.cells[usize::from(self.index)].set(n.cast_unsigned());
    }

    /// This thread's part.
    pub fn own(&self) -> i64 {
        self.cells[usize::from(self.index)].get().cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_apart_and_a_reader_sums() {
        let gauges = Gauges::new();
        let received = gauges.counter("received").unwrap();
        let sessions = gauges.gauge("sessions").unwrap();
        std::thread::scope(|scope| {
            for up in [3u64, 5] {
                let gauges = gauges.clone();
                scope.spawn(move || {
                    let shard = gauges.shard();
                    let counter = shard.counter(received);
                    (0..1000).for_each(|_| counter.add(1));
                    assert_eq!(counter.own(), 1000);
                    shard.gauge(sessions).add(up);
                });
            }
        });
        let here = gauges.shard().gauge(sessions);
        here.sub(10);
        assert_eq!(here.own(), -10);
        assert_eq!(gauges.read_counter(received), 2000);
        assert_eq!(gauges.read_gauge(sessions), -2);
        here.set(1);
        assert_eq!(gauges.read_gauge(sessions), 9);
        let values: Vec<Value> = gauges.snapshot().into_iter().map(|r| r.value).collect();
        assert_eq!(values, [Value::Counter(2000), Value::Gauge(9)]);
    }

    #[test]
    fn a_name_is_one_number_of_one_kind() {
        let gauges = Gauges::new();
        assert_eq!(gauges.counter("a").unwrap(), gauges.counter("a").unwrap());
        assert_eq!(gauges.gauge("a"), Err(GaugeError::OtherKind));
    }

    #[test]
    fn the_registry_says_when_it_is_full() {
        let gauges = Gauges::new();
        for n in 0..GAUGES_MAX {
            gauges.counter(&n.to_string()).unwrap();
        }
        assert_eq!(gauges.counter("one more"), Err(GaugeError::Full));
        assert!(gauges.counter("0").is_ok());
    }
}
