//! Time as a value that is passed in: nothing else in huidu reads the machine's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds of one second.
pub const SECOND_MS: i64 = 1_000;
/// Milliseconds of one minute.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// Milliseconds of one hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Milliseconds of one day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A source of wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    fn now_ms(&self) -> i64;

    /// Nanoseconds since some fixed moment; never runs back. For measuring how long something took.
    fn monotonic_ns(&self) -> u64;

    /// Whole days since 1970-01-01 in UTC.
    fn today(&self) -> i64 {
        self.now_ms().div_euclid(DAY_MS)
    }
}

/// The clock that every part of the service shares.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn monotonic_ns(&self) -> u64 {
        static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let began = BEGAN.get_or_init(std::time::Instant::now);
        u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug, Default)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that shows `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    /// Moves the clock by `ms` milliseconds; negative moves it back.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.now_ms()).unwrap_or_default().saturating_mul(1_000_000)
    }
}

/// A clock that is set to a time and stands there until it is set anew, and that can be let go to show the machine's:
/// days pass in seconds, then time goes on as everywhere.
#[derive(Debug)]
pub struct SetClock(AtomicI64);

impl SetClock {
    /// What says that it shows the machine's time.
    const FREE: i64 = i64::MIN;

    /// A clock that stands at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    /// Sets it to `now_ms`.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    /// From here on it shows the machine's time.
    pub fn let_go(&self) {
        self.set(Self::FREE);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        match self.0.load(Ordering::SeqCst) {
            Self::FREE => MachineClock.now_ms(),
            stands => stands,
        }
    }

    fn monotonic_ns(&self) -> u64 {
        MachineClock.monotonic_ns()
    }
}

/// `ms` as RFC 3339 in UTC, such as `2026-11-24T08:00:00.123Z`.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX))
}

/// Milliseconds of an RFC 3339 text; `None` if it is none.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_and_read_back() {
        let text = rfc3339(1_795_507_200_123);
        assert_eq!(text, "2026-11-24T08:00:00.123Z");
        assert_eq!(parse_rfc3339(&text), Some(1_795_507_200_123));
        assert_eq!(parse_rfc3339("2026-11-24T16:00:00+08:00"), Some(1_795_507_200_000));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_set_clock_stands_until_it_is_let_go() {
        let clock = SetClock::at(5);
        clock.set(DAY_MS);
        assert_eq!((clock.now_ms(), clock.today()), (DAY_MS, 1));
        clock.let_go();
        assert!((MachineClock.now_ms() - clock.now_ms()).abs() < MINUTE_MS);
    }

    #[test]
    fn a_hand_clock_moves_only_by_hand() {
        let clock = HandClock::at(5 * DAY_MS + 1);
        assert_eq!(clock.today(), 5);
        clock.advance(-2);
        assert_eq!((clock.now_ms(), clock.today()), (5 * DAY_MS - 1, 4));
    }
}
