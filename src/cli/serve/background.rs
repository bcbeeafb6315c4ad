//! What runs beside the workers, which decisions wait for: at a lower priority, and in short turns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::clock::SharedClock;
use crate::http::around::HttpMeters;

/// Most threads of it. One is enough for what it does; a second goes on while one reads a large body.
const THREADS_MAX: usize = 2;
/// How much nicer than decisions it is: at 8 it gets a seventh of a processor that decisions want all the time, so that
/// events are stored even then.
#[cfg(target_os = "linux")]
const NICER_BY: i32 = 8;
/// Decisions a second, for each processor, from which it goes on in short turns.
const BUSY_FROM: u64 = 10_000;
/// How often decisions are counted for that.
const COUNT_EVERY: Duration = Duration::from_millis(2);
/// How long a thread that was woken waits then.
const PAUSE: Duration = Duration::from_micros(300);

/// Its runtime, whose threads stand back with the one that calls.
pub(super) fn runtime(courtesy: &Arc<Courtesy>) -> std::io::Result<Runtime> {
    stand_back();
    // On one processor a second thread gets nothing done, and is woken for each piece of work all the same.
    let threads = processors().min(THREADS_MAX);
    let courtesy = courtesy.clone();
    let pause = move || courtesy.pause();
    Builder::new_multi_thread().worker_threads(threads).on_thread_unpark(pause).enable_all().build()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Lets this thread, and those that it begins, wait where decisions want the processor: storing events, computing
/// reports and preparing changes take longer than a decision does, and must not be seen in it.
#[cfg(target_os = "linux")]
fn stand_back() {
    // In Linux it is the thread's own.
    if let Err(error) = rustix::process::nice(NICER_BY) {
        tracing::warn!(%error, "what runs beside decisions could not be made to stand back");
    }
}

/// Elsewhere it would be the whole process that waits.
#[cfg(not(target_os = "linux"))]
fn stand_back() {}

/// Lets decisions in between two pieces of work. Linux looks every few milliseconds only who should run, so that a thread
/// which is woken for a change runs through all of it, with a tenth of its time due to it. A thread that was woken
/// therefore waits before it goes on, as long as decisions come in quick succession.
pub(super) struct Courtesy {
    clock: SharedClock,
    meters: OnceLock<Arc<HttpMeters>>,
    /// Decisions a second from which it is busy.
    busy_from: u64,
    counted_at_ns: AtomicU64,
    counted: AtomicU64,
    busy: AtomicBool,
}

impl Courtesy {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self::of(clock, processors())
    }

    fn of(clock: SharedClock, processors: usize) -> Self {
        let (meters, busy) = (OnceLock::new(), AtomicBool::new(false));
        let busy_from = BUSY_FROM.saturating_mul(processors as u64);
        Self { clock, meters, busy_from, counted_at_ns: AtomicU64::new(0), counted: AtomicU64::new(0), busy }
    }

    /// From now on decisions are known.
    pub(super) fn watch(&self, meters: &Arc<HttpMeters>) {
        // There is one server.
        drop(self.meters.set(meters.clone()));
    }

    fn pause(&self) {
        let Some(meters) = self.meters.get() else { return };
        if self.is_busy(self.clock.monotonic_ns(), || meters.decisions()) {
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether decisions come in quick succession at `now_ns`, where so many came so far.
    fn is_busy(&self, now_ns: u64, decisions: impl FnOnce() -> u64) -> bool {
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
        self.busy.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{HandClock, MachineClock};
    use crate::telemetry::metrics::Metrics;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_waits_only_while_decisions_come_in_quick_succession() {
        let courtesy = Courtesy::of(Arc::new(MachineClock), 1);
        assert!(!courtesy.is_busy(1_000 * MS, || 9_000), "nine a millisecond in the first second: not yet");
        assert!(!courtesy.is_busy(1_001 * MS, || panic!("not counted again so soon")));
        assert!(!courtesy.is_busy(1_010 * MS, || 9_099));
        assert!(courtesy.is_busy(1_020 * MS, || 9_199), "ten a millisecond");
        assert!(courtesy.is_busy(1_021 * MS, || panic!("not counted again so soon")));
        assert!(!courtesy.is_busy(1_040 * MS, || 9_398));
        let two = Courtesy::of(Arc::new(MachineClock), 2);
        assert!(!two.is_busy(1_000 * MS, || 19_999) && two.is_busy(1_010 * MS, || 20_199));
    }

    #[test]
    fn a_thread_that_was_woken_looks_how_many_decisions_came() {
        let clock = HandClock::at(1_000);
        let courtesy = Arc::new(Courtesy::of(clock.clone(), 1));
        let metrics = Metrics::new().unwrap();
        let runtime = runtime(&courtesy).unwrap();
        let woken = || runtime.block_on(async { tokio::spawn(tokio::time::sleep(PAUSE)).await.unwrap() });
        woken();
        assert_eq!(courtesy.counted_at_ns.load(Ordering::Relaxed), 0, "no server yet");
        courtesy.watch(&Arc::new(HttpMeters::new(&metrics)));
        woken();
        assert_eq!(courtesy.counted_at_ns.load(Ordering::Relaxed), 1_000 * MS);
        for (kind, class) in [("ofrep", "2xx"), ("decisions", "4xx"), ("events", "2xx"), ("manage", "2xx")] {
            let histogram = metrics.http_duration.with_label_values(&[kind, class]);
            (0..60).for_each(|_| histogram.observe(0.001));
        }
        clock.advance(10);
        woken();
        assert!(courtesy.busy.load(Ordering::Relaxed), "120 decisions in ten milliseconds");
        assert_eq!(courtesy.counted.load(Ordering::Relaxed), 120);
        clock.advance(90);
        woken();
        assert!(!courtesy.busy.load(Ordering::Relaxed));
    }
}
