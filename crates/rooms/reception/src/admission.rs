//! How many sessions there may be: of a listener, and from one client network.
//!
//! The kernel spreads the connections of one client over all loops, so that these counts are shared between loops: a
//! lock is taken when a connection comes or goes, never for a message.

use config::Network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions of all listeners of a server. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Admissions {
    listeners: Arc<Mutex<HashMap<Arc<str>, Arc<Admission>>>>,
}

impl Admissions {
    /// No sessions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sessions of one listener, on all loops and of all generations.
    pub fn of(&self, listener: &str) -> Arc<Admission> {
        let mut listeners = lock(&self.listeners);
        if let Some(admission) = listeners.get(listener) {
            return admission.clone();
        }
        let admission = Arc::<Admission>::default();
        listeners.insert(listener.into(), admission.clone());
        admission
    }
}

/// The sessions of one listener.
#[derive(Debug, Default)]
pub struct Admission {
    sessions: AtomicU32,
    networks: [Mutex<HashMap<Network, u32>>; SHARDS],
}

/// So many loops can count at the same time.
const SHARDS: usize = 16;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// The listener has as many sessions as it may.
    Listener,
    /// The client's network has.
    Network,
}

impl Admission {
    /// A place among at most `max` sessions.
    ///
    /// # Errors
    /// [`Crowd::Listener`]
    pub fn enter(self: &Arc<Self>, max: u32) -> Result<Ticket, Crowd> {
        // Relaxed: the number publishes nothing else.
        let more = |sessions: u32| (sessions < max).then(|| sessions + 1);
        self.sessions.fetch_update(Relaxed, Relaxed, more).map_err(|_| Crowd::Listener)?;
        Ok(Ticket { admission: self.clone(), network: None })
    }

    /// Sessions at this moment.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }

    fn network(&self, network: &Network) -> MutexGuard<'_, HashMap<Network, u32>> {
        let bits = match network {
            Network::V4(address, _) => u64::from(address.to_bits()),
            Network::V6(address, _) => (address.to_bits() >> 64) as u64,
        };
        // Multiplied, as neighbouring networks differ in their low bits only; the top bits choose.
        let shard = (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize;
        lock(&self.networks[shard % SHARDS])
    }
}

/// A session's place; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a dropped ticket is a free place"]
pub struct Ticket {
    admission: Arc<Admission>,
    network: Option<Network>,
}

impl Ticket {
    /// Counts the session to its client's network, which may have at most `max`. To be called once, when the client is
    /// known.
    ///
    /// # Errors
    /// [`Crowd::Network`]
    pub fn join(&mut self, client: IpAddr, prefix_v4: u8, prefix_v6: u8, max: u32) -> Result<(), Crowd> {
        self.leave();
        let prefix = if client.to_canonical().is_ipv4() { prefix_v4 } else { prefix_v6 };
        let network = Network::around(client, prefix);
        let mut networks = self.admission.network(&network);
        let sessions = networks.entry(network).or_insert(0);
        if *sessions >= max {
            return Err(Crowd::Network);
        }
        *sessions += 1;
        drop(networks);
        self.network = Some(network);
        Ok(())
    }

    fn leave(&mut self) {
        let Some(network) = self.network.take() else { return };
        let mut networks = self.admission.network(&network);
        match networks.get_mut(&network) {
            Some(sessions) if *sessions > 1 => *sessions -= 1,
            _ => {
                networks.remove(&network);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
        self.admission.sessions.fetch_sub(1, Relaxed);
    }
}

/// Nothing under these locks can panic half-way, so a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_of_a_listener() {
        let admissions = Admissions::new();
        let mx = admissions.of("mx");
        let (first, _second) = (mx.enter(2).unwrap(), mx.enter(2).unwrap());
        assert_eq!(admissions.of("mx").enter(2).unwrap_err(), Crowd::Listener);
        assert!(admissions.of("other").enter(2).is_ok());
        drop(first);
        assert!(mx.enter(2).is_ok());
    }

    #[test]
    fn places_of_a_network() {
        let mx = Admissions::new().of("mx");
        let join = |client: &str| {
            let mut ticket = mx.enter(100).unwrap();
            ticket.join(ip(client), 24, 64, 2).map(|()| ticket)
        };
        let held = [join("192.0.2.1").unwrap(), join("192.0.2.200").unwrap()];
        assert_eq!(join("192.0.2.3").unwrap_err(), Crowd::Network);
        assert_eq!(join("::ffff:192.0.2.3").unwrap_err(), Crowd::Network);
        assert!(join("192.0.3.1").is_ok());
        let six = [join("2001:db8::1").unwrap(), join("2001:db8::ffff:1").unwrap()];
        assert!(join("2001:db8::2").is_err() && join("2001:db8:0:1::1").is_ok());
        drop((held, six));
        assert_eq!(mx.sessions(), 0);
        assert!(mx.networks.iter().all(|shard| lock(shard).is_empty()), "a network without sessions costs nothing");
    }
}
