//! A moment, as the wire counts them.

/// A moment in UTC, in units of 100 nanoseconds since 1970-01-01T00:00:00Z: the seven fractional
/// digits of the wire (O §1.6). Before and after that day alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// How many ticks make a second.
    pub const TICKS_PER_SECOND: i64 = 10_000_000;

    /// From ticks of 100 ns since the Unix epoch.
    #[must_use]
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// From whole seconds since the Unix epoch. Saturates at the ends of the range.
    #[must_use]
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(Self::TICKS_PER_SECOND))
    }

    /// Ticks of 100 ns since the Unix epoch.
    #[must_use]
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_secs(self) -> i64 {
        self.0.div_euclid(Self::TICKS_PER_SECOND)
    }

    /// This moment moved by seconds (negative: back). Saturates at the ends of the range.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(Self::TICKS_PER_SECOND)))
    }
}
