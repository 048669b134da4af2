//! Points in time, as the core sees them: arguments, never readings.
//!
//! Takes what a clock said, gives arithmetic that cannot overflow. Deliberately has no way to read a clock: that is
//! `host/`'s, once per event, so that every decision can be replayed.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, counted from 1970-01-01T00:00:00Z without leap seconds (the epoch of `NumericDate`, RFC 7519
/// section 2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The time that lies `since_epoch` after the epoch.
    pub const fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// The time `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The time `milliseconds` after the epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Whole milliseconds since the epoch.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds since the epoch, the lowest 64 bits of them.
    pub fn nanos_since_epoch(self) -> u64 {
        self.0.as_secs().wrapping_mul(1_000_000_000).wrapping_add(self.0.subsec_nanos().into())
    }

    /// Seconds since the epoch, fractions included.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// This time plus `delay`, or the latest time there is.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// How long from this time until `later`; zero when `later` has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// As whole milliseconds.
impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_millis().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_overflowing() {
        let end = UnixTime::new(Duration::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert_eq!(end.until(UnixTime::from_secs(0)), Duration::ZERO);
    }
}
