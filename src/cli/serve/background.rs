//! What runs beside the workers, which decisions wait for: at a lower priority, and in short turns.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::http::courtesy::Courtesy;

/// Most threads of it. One is enough for what it does; a second goes on while one reads a large body.
const THREADS_MAX: usize = 2;
/// How much nicer than decisions it is: at 7 it gets a sixth of a processor that decisions want all the time, so that
/// events are stored even then.
#[cfg(target_os = "linux")]
const NICER_BY: i32 = 7;

/// Its runtime, whose threads stand back with the one that calls.
pub(super) fn runtime(courtesy: &Arc<Courtesy>) -> std::io::Result<Runtime> {
    stand_back();
    // On one processor a second thread gets nothing done, and is woken for each piece of work all the same.
    let threads = processors().min(THREADS_MAX);
    let (resting, waking) = (courtesy.clone(), courtesy.clone());
    Builder::new_multi_thread()
        .worker_threads(threads)
        .on_thread_park(move || resting.rest())
        .on_thread_unpark(move || waking.wake())
        .enable_all()
        .build()
}

/// How many it may run on.
pub(super) fn processors() -> usize {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::HandClock;
    use crate::http::around::HttpMeters;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn a_thread_that_was_woken_looks_how_many_decisions_came() {
        let clock = HandClock::at(1_000);
        let courtesy = Arc::new(Courtesy::new(clock.clone(), 1));
        let metrics = Metrics::new().unwrap();
        courtesy.watch(&Arc::new(HttpMeters::new(&metrics)));
        let runtime = runtime(&courtesy).unwrap();
        let sleeps = || tokio::time::sleep(Duration::from_micros(300));
        let woken = || runtime.block_on(async { tokio::spawn(sleeps()).await.unwrap() });
        woken();
        assert!(!courtesy.is_busy(), "none came");
        let histogram = metrics.http_duration.with_label_values(&["ofrep", "2xx"]);
        (0..120).for_each(|_| histogram.observe(0.001));
        clock.advance(10);
        woken();
        assert!(courtesy.is_busy(), "120 in ten milliseconds");
    }
}
