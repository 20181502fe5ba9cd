//! Wall-clock time as a number. Everything durable or printed uses it; deadlines use `std::time::Instant`.

/// Microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The moment `seconds` after the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long before `later` this was; zero if it was not before.
    pub const fn until(self, later: Self) -> std::time::Duration {
        std::time::Duration::from_micros(later.0.saturating_sub(self.0))
    }

    /// This moment plus `duration`, saturating.
    pub const fn after(self, duration: std::time::Duration) -> Self {
        let micros = duration.as_micros();
        let micros = if micros > u64::MAX as u128 { u64::MAX } else { micros as u64 };
        Self(self.0.saturating_add(micros))
    }
}
