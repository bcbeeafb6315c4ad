//! Room for decisions between two pieces of work that is done beside them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::around::HttpMeters;
use crate::clock::SharedClock;

/// Decisions a second, for each processor, from which what is done beside them goes on in short turns.
const BUSY_FROM: u64 = 10_000;
/// How often decisions are counted for that.
const COUNT_EVERY: Duration = Duration::from_millis(2);
/// How long decisions are let in between two pieces of work then.
const PAUSE: Duration = Duration::from_millis(1);
/// After a rest of this many nanoseconds they have been let in already.
const REST_NS: u64 = 1_500_000;

/// Lets decisions in between two pieces of work. Linux looks every few milliseconds only who should run, so that a thread
/// which is woken for a change runs through all of it, with a tenth of its time due to it. A thread that was woken
/// therefore waits before it goes on, as long as decisions come in quick succession, unless it comes from a rest. So does a
/// long piece of work in its middle.
pub struct Courtesy {
    clock: SharedClock,
    meters: OnceLock<Arc<HttpMeters>>,
    /// Decisions a second from which it is busy.
    busy_from: u64,
    counted_at_ns: AtomicU64,
    counted: AtomicU64,
    busy: AtomicBool,
    rests_since_ns: AtomicU64,
}

impl Courtesy {
    /// That of a service which runs on so many `processors`.
    #[must_use]
    pub fn new(clock: SharedClock, processors: usize) -> Self {
        Self {
            clock,
            meters: OnceLock::new(),
            busy_from: BUSY_FROM.saturating_mul(processors as u64),
            counted_at_ns: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            rests_since_ns: AtomicU64::new(0),
        }
    }

    /// From now on decisions are known.
    pub fn watch(&self, meters: &Arc<HttpMeters>) {
        // There is one server.
        drop(self.meters.set(meters.clone()));
    }

    /// Lets this thread wait if decisions come in quick succession: never a worker's.
    pub fn pause(&self) {
        if self.is_busy_at(self.clock.monotonic_ns()) {
            std::thread::sleep(PAUSE);
        }
    }

    /// This thread has nothing to do.
    pub fn rest(&self) {
        self.rests_since_ns.store(self.clock.monotonic_ns(), Ordering::Relaxed);
    }

    /// This thread was woken: it waits as in [`Courtesy::pause`], unless it rested.
    pub fn wake(&self) {
        let now_ns = self.clock.monotonic_ns();
        if self.is_busy_at(now_ns) && !self.has_rested(now_ns) {
            std::thread::sleep(PAUSE);
        }
    }

    fn has_rested(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.rests_since_ns.load(Ordering::Relaxed)) >= REST_NS
    }

    fn is_busy_at(&self, now_ns: u64) -> bool {
        self.meters.get().is_some_and(|meters| self.look(now_ns, || meters.decisions()))
    }

    /// Whether decisions come in quick succession at `now_ns`, where so many came so far.
    fn look(&self, now_ns: u64, decisions: impl FnOnce() -> u64) -> bool {
        let since = self.counted_at_ns.load(Ordering::Relaxed);
        let passed = now_ns.saturating_sub(since);
        if u128::from(passed) >= COUNT_EVERY.as_nanos()
            && self
                .counted_at_ns
                .compare_exchange(since, now_ns, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let decisions = decisions();
            let came = decisions.saturating_sub(self.counted.swap(decisions, Ordering::Relaxed));
            let busy = u128::from(came) * 1_000_000_000 >= u128::from(passed) * u128::from(self.busy_from);
            self.busy.store(busy, Ordering::Relaxed);
        }
        self.is_busy()
    }

    /// Whether they did when somebody last looked.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, HandClock, MachineClock};
    use crate::telemetry::metrics::Metrics;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_waits_only_while_decisions_come_in_quick_succession() {
        let courtesy = Courtesy::new(Arc::new(MachineClock), 1);
        assert!(!courtesy.look(1_000 * MS, || 9_000), "nine a millisecond in the first second: not yet");
        assert!(!courtesy.look(1_001 * MS, || panic!("not counted again so soon")));
        assert!(!courtesy.look(1_010 * MS, || 9_099));
        assert!(courtesy.look(1_020 * MS, || 9_199), "ten a millisecond");
        assert!(courtesy.look(1_021 * MS, || panic!("not counted again so soon")));
        assert!(!courtesy.look(1_040 * MS, || 9_398));
        let two = Courtesy::new(Arc::new(MachineClock), 2);
        assert!(!two.look(1_000 * MS, || 19_999) && two.look(1_010 * MS, || 20_199));
    }

    #[test]
    fn decisions_of_all_kinds_are_counted_and_nothing_else() {
        let clock = HandClock::at(1_000);
        let courtesy = Courtesy::new(clock.clone(), 1);
        let metrics = Metrics::new().unwrap();
        courtesy.pause();
        assert_eq!(courtesy.counted_at_ns.load(Ordering::Relaxed), 0, "no server yet");
        courtesy.watch(&Arc::new(HttpMeters::new(&metrics)));
        courtesy.pause();
        assert_eq!(courtesy.counted_at_ns.load(Ordering::Relaxed), 1_000 * MS);
        for (kind, class) in [("ofrep", "2xx"), ("decisions", "4xx"), ("events", "2xx"), ("manage", "2xx")] {
            let histogram = metrics.http_duration.with_label_values(&[kind, class]);
            (0..60).for_each(|_| histogram.observe(0.001));
        }
        clock.advance(10);
        courtesy.pause();
        assert!(courtesy.is_busy(), "120 decisions in ten milliseconds");
        assert_eq!(courtesy.counted.load(Ordering::Relaxed), 120);
        let began = MachineClock.monotonic_ns();
        courtesy.pause();
        let waited = Duration::from_nanos(MachineClock.monotonic_ns() - began);
        assert!(waited >= PAUSE, "it waits as long as they come");
        clock.advance(90);
        courtesy.pause();
        assert!(!courtesy.is_busy());
    }

    #[test]
    fn who_rested_goes_on_at_once() {
        let clock = HandClock::at(1_000);
        let courtesy = Courtesy::new(clock.clone(), 1);
        clock.advance(1_000);
        courtesy.rest();
        let now_ns = clock.monotonic_ns();
        let rested = [0, MS, 2 * MS].map(|later| courtesy.has_rested(now_ns + later));
        assert_eq!(rested, [false, false, true]);
    }
}
