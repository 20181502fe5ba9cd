//! What a container may do: the options of its domain as the scheduler needs them.
//!
//! `posthaste` makes one for each set of options and shares it among containers; it never changes, a new configuration
//! brings new ones ([`crate::Scheduler::reconfigure`]).

use crate::{GiveUp, Shares};
use config::{ConnectionRamp, DomainOptions, RetryLimit, WeekWindow};
use std::time::Duration;

/// Transient failures after which a message leaves memory.
const RESIDENT_FAILURES_MAX: u16 = 3;

/// The limits of one container, shared by all that have the same options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time, on this event loop.
    pub max_connections: u32,
    /// Recipients of one message in one transaction; at least 1 is always allowed.
    pub max_recipients_per_batch: u32,
    /// How fast connections are added.
    pub ramp: Ramp,
    /// Whether mail leaves.
    pub flow: Flow,
    /// When it rests.
    pub curfew: Vec<WeekWindow>,
    /// When to try again, and when to give up.
    pub retry: RetryPolicy,
    /// When hosts that cannot be reached delay all mail.
    pub give_up: GiveUp,
    /// After this many transient failures a message is not kept in memory any more.
    pub resident_failures_max: u16,
    /// Limits and throttles that others have a part in.
    pub shares: Shares,
}

/// How fast a container comes to its number of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ramp {
    /// A few at first, one more for each delivery, as long as enough mail waits.
    #[default]
    Gradual,
    /// As many as there is mail, at once.
    Straight,
}

/// Whether mail of a container leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    #[default]
    Flowing,
    /// It waits, and expires, until it is resumed.
    Suspended,
}

/// When a recipient that failed for now is tried again: `min(interval_max, interval · 2^(n-1))` after the n-th failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure.
    pub interval: Duration,
    /// The longest wait.
    pub interval_max: Duration,
    /// By how much a wait is shortened or lengthened at random, percent; 0 to 100. It is the same for all recipients
    /// of a message, so that they stay together.
    pub jitter_percent: u8,
    /// How many attempts after the first.
    pub retries: Retries,
    /// How long a recipient may live, counted from the reception of its message.
    pub expiration: Duration,
    /// The same for what its route holds, which the expiration does not touch; `None` is for ever.
    pub age_max: Option<Duration>,
}

/// How many attempts after the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retries {
    /// Those that fit into the expiration: when the next would come too late, the recipient is given up at once.
    #[default]
    Auto,
    /// Any number; only the expiration ends it.
    Unlimited,
    /// This many, or until the expiration.
    AtMost(u16),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 32,
            max_recipients_per_batch: 100,
            ramp: Ramp::Gradual,
            flow: Flow::Flowing,
            curfew: vec![],
            retry: RetryPolicy::default(),
            give_up: GiveUp::default(),
            resident_failures_max: RESIDENT_FAILURES_MAX,
            shares: Shares::default(),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1_200),
            interval_max: Duration::from_secs(43_200),
            jitter_percent: 10,
            retries: Retries::Auto,
            expiration: Duration::from_secs(86_400),
            age_max: None,
        }
    }
}

/// Without what is shared, which [`crate::Shared`] knows.
impl From<&DomainOptions> for Limits {
    fn from(options: &DomainOptions) -> Self {
        Self {
            max_connections: options.max_connections,
            max_recipients_per_batch: options.max_recipients_per_batch,
            ramp: match options.connection_ramp {
                ConnectionRamp::Gradual => Ramp::Gradual,
                ConnectionRamp::Straight => Ramp::Straight,
            },
            flow: if options.suspend { Flow::Suspended } else { Flow::Flowing },
            curfew: options.curfew.clone(),
            retry: RetryPolicy {
                interval: options.retry_interval,
                interval_max: options.max_retry_interval,
                jitter_percent: options.retry_jitter.0,
                retries: match options.max_retries {
                    RetryLimit::Auto => Retries::Auto,
                    RetryLimit::None => Retries::Unlimited,
                    RetryLimit::Count(count) => Retries::AtMost(u16::try_from(count).unwrap_or(u16::MAX)),
                },
                expiration: options.message_expiration,
                age_max: Some(options.max_message_age).filter(|age| !age.is_zero()),
            },
            give_up: GiveUp {
                failures: Some(options.mx_failures_to_delay).filter(|&failures| failures > 0),
                after: Some(options.connect_timeout_to_delay).filter(|after| !after.is_zero()),
            },
            resident_failures_max: RESIDENT_FAILURES_MAX,
            shares: Shares::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(options: &str) -> Limits {
        let text = format!("[domain.\"*\"]\n{options}\n");
        let config = config::Config::parse("test", &text).expect("a configuration");
        Limits::from(&*config.domain_options("example.org", config::DEFAULT_BINDING, None))
    }

    #[test]
    fn defaults_are_those_of_the_option_table() {
        assert_eq!(limits(""), Limits::default());
    }

    #[test]
    fn options_arrive() {
        let retries = |text| limits(text).retry.retries;
        assert_eq!(retries("max_retries = \"none\""), Retries::Unlimited);
        assert_eq!(retries("max_retries = 7"), Retries::AtMost(7));
        assert_eq!(retries("max_retries = 70000"), Retries::AtMost(u16::MAX));
        assert_eq!(limits("suspend = true").flow, Flow::Suspended);
        let retry = limits("retry_interval = \"5m\"\nmax_retry_interval = \"1h\"\nretry_jitter = \"20%\"").retry;
        assert_eq!((retry.interval.as_secs(), retry.interval_max.as_secs(), retry.jitter_percent), (300, 3600, 20));
        assert_eq!(limits("max_connections = 5\nmessage_expiration = \"7d\"").max_connections, 5);
    }
}
