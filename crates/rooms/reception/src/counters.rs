//! Numbers of the room: each loop counts on cells of its own, the console reads the sums.

use engine::{Counter, CounterId, Gauge, GaugeError, GaugeId, GaugeShard, Gauges};

/// Why clients were refused, coarsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// What the client sent was no command, or came in the wrong place.
    Syntax,
    /// Relaying denied.
    Relay,
    /// Too many recipients.
    Recipients,
    /// The message is too large.
    Size,
    /// What stands in the message: line ends, lengths, a loop.
    Content,
    /// The spool or memory has no room.
    Resources,
    /// Too many sessions.
    Sessions,
    /// The server is stopping.
    Drain,
    /// The client was too slow.
    Timeout,
    /// The client behaved badly.
    Behaviour,
    /// The recipient is on the suppression list.
    Suppressed,
    /// Anything else.
    Other,
}

const REASONS: [(Reason, &str); 12] = [
    (Reason::Syntax, "syntax"),
    (Reason::Relay, "relay"),
    (Reason::Recipients, "recipients"),
    (Reason::Size, "size"),
    (Reason::Content, "content"),
    (Reason::Resources, "resources"),
    (Reason::Sessions, "sessions"),
    (Reason::Drain, "drain"),
    (Reason::Timeout, "timeout"),
    (Reason::Behaviour, "behaviour"),
    (Reason::Suppressed, "suppressed"),
    (Reason::Other, "other"),
];

impl Reason {
    /// The reason behind a reply, by its enhanced status code.
    pub fn of(text: &str) -> Reason {
        let Some(message::Enhanced(_, subject, detail)) = text.split(' ').next().and_then(message::Enhanced::parse)
        else {
            return Reason::Other;
        };
        match (subject, detail) {
            (7, 1) => Reason::Relay,
            (1, 0) => Reason::Suppressed,
            (5, 3) => Reason::Recipients,
            (3, 4) => Reason::Size,
            (3, 2) => Reason::Drain,
            (3, _) => Reason::Resources,
            (4, 2) => Reason::Timeout,
            (4, 5) => Reason::Sessions,
            (4, 6) | (6, _) => Reason::Content,
            (1 | 5, _) => Reason::Syntax,
            (7, 0) => Reason::Behaviour,
            _ => Reason::Other,
        }
    }
}

/// The registered names of a server's reception.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    sessions: GaugeId,
    sessions_total: CounterId,
    messages: CounterId,
    recipients: CounterId,
    bytes: CounterId,
    refused: [CounterId; REASONS.len()],
}

impl Names {
    /// Registers them; again is the same.
    ///
    /// # Errors
    /// See [`GaugeError`].
    pub fn register(gauges: &Gauges) -> Result<Names, GaugeError> {
        let sessions = gauges.gauge("reception_sessions")?;
        let sessions_total = gauges.counter("reception_sessions_total")?;
        let mut refused = [sessions_total; REASONS.len()];
        for (place, (_, name)) in refused.iter_mut().zip(REASONS) {
            *place = gauges.counter(&format!("reception_refused_{name}_total"))?;
        }
        Ok(Names {
            sessions,
            sessions_total,
            messages: gauges.counter("reception_messages_total")?,
            recipients: gauges.counter("reception_recipients_total")?,
            bytes: gauges.counter("reception_bytes_total")?,
            refused,
        })
    }

    /// A loop's part.
    pub fn counters(&self, shard: &GaugeShard) -> Counters {
        Counters {
            sessions: shard.gauge(self.sessions),
            sessions_total: shard.counter(self.sessions_total),
            messages: shard.counter(self.messages),
            recipients: shard.counter(self.recipients),
            bytes: shard.counter(self.bytes),
            refused: self.refused.map(|id| shard.counter(id)),
        }
    }

    /// The sums over all loops.
    pub fn read(&self, gauges: &Gauges) -> Figures {
        Figures {
            sessions: u64::try_from(gauges.read_gauge(self.sessions)).unwrap_or(0),
            sessions_total: gauges.read_counter(self.sessions_total),
            messages: gauges.read_counter(self.messages),
            recipients: gauges.read_counter(self.recipients),
            bytes: gauges.read_counter(self.bytes),
            refused: self.refused.map(|id| gauges.read_counter(id)),
        }
    }
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Sessions now.
    pub sessions: u64,
    /// Sessions since the start.
    pub sessions_total: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// Their octets, without trace headers.
    pub bytes: u64,
    refused: [u64; REASONS.len()],
}

impl Figures {
    /// Replies of 4xx and 5xx for one reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize]
    }

    /// All reasons by name with their numbers.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refused).map(|((_, name), count)| (name, count))
    }
}

/// One loop's part of the numbers.
#[derive(Clone, Debug)]
pub struct Counters {
    pub(crate) sessions: Gauge,
    pub(crate) sessions_total: Counter,
    pub(crate) messages: Counter,
    pub(crate) recipients: Counter,
    pub(crate) bytes: Counter,
    refused: [Counter; REASONS.len()],
}

impl Counters {
    pub(crate) fn count_refused(&self, text: &str) {
        self.refused[Reason::of(text) as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers() {
        for (index, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        assert_eq!(Reason::of("5.7.1 relaying denied"), Reason::Relay);
        assert_eq!(Reason::of("4.3.2 service shutting down"), Reason::Drain);
        assert_eq!(Reason::of("no code"), Reason::Other);
    }

    #[test]
    fn loops_are_summed() {
        let gauges = Gauges::new();
        let names = Names::register(&gauges).unwrap();
        let (one, two) = (names.counters(&gauges.shard()), names.counters(&gauges.shard()));
        one.messages.add(2);
        two.messages.add(3);
        two.count_refused("5.3.4 message size limit exceeded");
        let figures = names.read(&gauges);
        assert_eq!((figures.messages, figures.refused(Reason::Size)), (5, 1));
    }
}
