//! How many streams may be open: in all, and for one key. Checked before anything of a stream is made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;
use tokio::sync::watch;

use crate::engine::map::Map;
use crate::http::problem::{Code, Problem};
use crate::telemetry::metrics::Metrics;

/// The shortest wait that a refused page is told, in seconds, and how much more it may be.
const RETRY_SECONDS: u64 = 2;
const RETRY_JITTER_SECONDS: u64 = 18;

/// The places for streams.
pub struct Places {
    max: usize,
    per_key_max: usize,
    taken: Mutex<Taken>,
    refused: [IntCounter; 2],
    asked: AtomicU64,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_key: Map<Box<str>, usize>,
}

/// A place that is given back when it is dropped.
pub struct Place {
    places: Arc<Places>,
    key: Box<str>,
    asked: u64,
}

impl Places {
    /// Places for `max` streams, `per_key_max` of them for one key.
    #[must_use]
    pub fn new(max: usize, per_key_max: usize, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_key_max,
            taken: Mutex::default(),
            refused: ["all", "key"].map(|limit| metrics.streams_refused.with_label_values(&[limit])),
            asked: AtomicU64::new(0),
            ended: watch::Sender::new(false),
        })
    }

    /// Whether streams are offered at all.
    #[must_use]
    pub fn are_offered(&self) -> bool {
        self.max > 0
    }

    /// Takes a place for the key whose id is `key`.
    ///
    /// # Errors
    /// `too_many_streams` where all are taken, `not_ready` when the service stops; both say when to come again, each
    /// caller another time.
    pub fn take(self: &Arc<Self>, key: &str) -> Result<Place, Problem> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let later = |code, detail: String| {
            let seconds = RETRY_SECONDS + part_of(RETRY_JITTER_SECONDS, asked);
            Err(Problem::new(code, detail).retry_after(seconds))
        };
        if *self.ended.borrow() {
            return later(Code::NotReady, "the service is stopping".into());
        }
        let [refused_all, refused_key] = &self.refused;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            refused_all.inc();
            return later(Code::TooManyStreams, format!("all {} streams are taken", self.max));
        }
        let of_key = taken.by_key.get(key).copied().unwrap_or(0);
        if of_key >= self.per_key_max {
            refused_key.inc();
            return later(
                Code::TooManyStreams,
                format!("this key has {of_key} streams open, as many as it may"),
            );
        }
        taken.all += 1;
        taken.by_key.insert(key.into(), of_key + 1);
        drop(taken);
        Ok(Place { places: self.clone(), key: key.into(), asked })
    }

    /// Ends all streams, and gives out no more places.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Tells when the streams must end.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }
}

impl Place {
    /// This place's own part of `whole`, so that what many do after the same wait is spread.
    #[must_use]
    pub fn part_of(&self, whole: u64) -> u64 {
        part_of(whole, self.asked)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_key.get_mut(&self.key) {
            Some(of_key) if *of_key > 1 => *of_key -= 1,
            _ => drop(taken.by_key.remove(&self.key)),
        }
    }
}

/// A part of `whole`, 0 to `whole` itself: multiples of the golden ratio spread evenly.
fn part_of(whole: u64, n: u64) -> u64 {
    let fraction = u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    u64::try_from(((u128::from(whole) + 1) * fraction) >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(places: &Arc<Places>, key: &str) -> Code {
        places.take(key).err().expect("it is refused").code
    }

    #[test]
    fn both_limits_hold_and_a_place_comes_back() {
        let metrics = Metrics::new().unwrap();
        let places = Places::new(3, 2, &metrics);
        let held = [places.take("a").unwrap(), places.take("a").unwrap()];
        assert_eq!(refused(&places, "a"), Code::TooManyStreams);
        let other = places.take("b").unwrap();
        assert_eq!(refused(&places, "b"), Code::TooManyStreams, "all are taken");
        let refusals = |limit| metrics.streams_refused.with_label_values(&[limit]).get();
        assert_eq!((refusals("key"), refusals("all")), (1, 1));
        drop(other);
        let again = places.take("c").unwrap();
        drop(held);
        assert!(places.take("a").is_ok());
        drop(again);
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_key.len()), (0, 0), "nothing is kept of who is gone");
    }

    #[test]
    fn none_are_given_after_the_end_or_where_none_are_offered() {
        let metrics = Metrics::new().unwrap();
        let places = Places::new(3, 2, &metrics);
        let ended = places.ended();
        places.end();
        assert_eq!((refused(&places, "a"), *ended.borrow()), (Code::NotReady, true));
        let none = Places::new(0, 2, &metrics);
        assert!(places.are_offered() && !none.are_offered());
        assert_eq!(refused(&none, "a"), Code::TooManyStreams);
    }

    #[test]
    fn waits_are_spread_over_all_of_their_range() {
        let mut seen: Vec<u64> = (0..190).map(|n| RETRY_SECONDS + part_of(RETRY_JITTER_SECONDS, n)).collect();
        seen.sort_unstable();
        assert_eq!((seen[0], seen[189]), (RETRY_SECONDS, RETRY_SECONDS + RETRY_JITTER_SECONDS));
        for wait in RETRY_SECONDS..=RETRY_SECONDS + RETRY_JITTER_SECONDS {
            let count = seen.iter().filter(|seen| **seen == wait).count();
            assert!((7..=13).contains(&count), "{wait} s was said {count} of 190 times");
        }
    }
}
