//! Who hears of a change: one feed an environment. Nothing queues: whoever is slow hears the newest state only,
//! and that everything may have changed.

mod event;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::clock::DAY_MS;
use crate::engine::snapshot::Snapshot;
use crate::telemetry::metrics::Metrics;

/// Longest time over which the pages of one environment are told of a change that may wait.
pub const SPREAD_MAX: Duration = Duration::from_millis(1_500);
/// How many pages are told in a millisecond, so that what they fetch comes at a bearable rate.
const TOLD_PER_MS: u64 = 1;
/// Changes whose told pages are still counted.
const RECENT_MAX: usize = 64;
/// How long after the end of a flag a returning page is told again, since an end takes no number.
const END_TOLD_MS: i64 = DAY_MS;

/// What listeners hear: the state that an environment decides by now.
#[derive(Debug)]
pub struct Told {
    /// The snapshot's number.
    pub number: i64,
    /// Counts what was told, ends of flags included.
    sequence: u64,
    /// The `sequence` of the last that could not wait: something was shut.
    urgent: u64,
    /// Over how long this one is told.
    spread: Duration,
    /// The latest end of a flag that has passed, in milliseconds since 1970.
    last_end: i64,
    change: Bytes,
    everything: Bytes,
    refetch: Bytes,
    recent: Arc<[Reached]>,
}

/// What a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `event: change`, with the flags.
    Change,
    /// OFREP's `refetchEvaluation`.
    Ofrep,
}

/// A state that decides in the place of another.
#[derive(Debug)]
pub struct Swap<'s> {
    /// What decided before, if anything did.
    pub old: Option<&'s Snapshot>,
    /// What decides now.
    pub new: &'s Snapshot,
    /// Whether the environment's own settings are as before: under others all flags may decide otherwise.
    pub same_settings: bool,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// When this instance began to decide by a number, and how many pages it told so far.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The snapshot's number.
    pub number: i64,
    /// Milliseconds since 1970.
    pub at: i64,
    pages: Arc<AtomicU64>,
}

impl Reached {
    /// Pages that were told while they were open.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }
}

/// Tells all listeners of one environment.
#[derive(Debug)]
pub struct Feed {
    environment: Box<str>,
    told: watch::Sender<Arc<Told>>,
    places: AtomicU64,
    open: AtomicI64,
    open_gauge: IntGauge,
    sent: IntCounter,
}

impl Feed {
    /// A feed without listeners.
    #[must_use]
    pub fn new(environment: &str, metrics: &Metrics) -> Arc<Self> {
        let nothing = Told {
            number: 0,
            sequence: 0,
            urgent: 0,
            spread: Duration::ZERO,
            last_end: i64::MIN,
            change: Bytes::new(),
            everything: Bytes::new(),
            refetch: Bytes::new(),
            recent: Arc::default(),
        };
        Arc::new(Self {
            environment: environment.into(),
            told: watch::Sender::new(Arc::new(nothing)),
            places: AtomicU64::new(0),
            open: AtomicI64::new(0),
            open_gauge: metrics.streams_open.with_label_values(&[environment]),
            sent: metrics.stream_events.with_label_values(&[environment]),
        })
    }

    /// Tells of a swap. To be called in the order of the swaps.
    pub fn tell(&self, swap: &Swap<'_>) {
        let changed = event::changed(swap);
        if changed.nothing {
            return;
        }
        let (number, now_ms) = (swap.new.number(), swap.at);
        let ends = swap.new.flags().iter().filter(|flag| flag.expired).filter_map(|flag| flag.expire_at());
        let last_end = ends.max().unwrap_or(i64::MIN);
        let open = u64::try_from(self.open.load(Ordering::Relaxed)).unwrap_or_default();
        let spread = Duration::from_millis(open / TOLD_PER_MS).min(SPREAD_MAX);
        self.told.send_modify(|told| {
            let sequence = told.sequence + 1;
            *told = Arc::new(Told {
                number,
                sequence,
                urgent: if changed.shuts { sequence } else { told.urgent },
                spread,
                last_end,
                change: event::change(&self.environment, number, &changed.flags),
                everything: event::change(&self.environment, number, &[]),
                refetch: event::refetch(number, now_ms),
                recent: recent(told, number, now_ms),
            });
        });
    }

    /// Begins to listen.
    #[must_use]
    pub fn listen(self: &Arc<Self>) -> Listener {
        let mut receiver = self.told.subscribe();
        let told = receiver.borrow_and_update().clone();
        self.open.fetch_add(1, Ordering::Relaxed);
        self.open_gauge.inc();
        Listener {
            receiver,
            place: place(self.places.fetch_add(1, Ordering::Relaxed)),
            heard: told.sequence,
            number: told.number,
            due: None,
            feed: self.clone(),
        }
    }

    /// Waits until `number`, or a later one, decides.
    pub async fn reaches(&self, number: i64) {
        // The feed lives as long as its environment, so that the sender cannot be gone.
        drop(self.told.subscribe().wait_for(|told| told.number >= number).await);
    }

    /// When this instance reached its last numbers, oldest first.
    #[must_use]
    pub fn recent(&self) -> Arc<[Reached]> {
        self.told.borrow().recent.clone()
    }
}

/// The numbers reached before, with `number` if it is a new one.
fn recent(told: &Told, number: i64, at: i64) -> Arc<[Reached]> {
    if told.sequence > 0 && told.number == number {
        return told.recent.clone();
    }
    let kept = told.recent.len().saturating_sub(RECENT_MAX - 1);
    let reached = Reached { number, at, pages: Arc::default() };
    told.recent.iter().skip(kept).cloned().chain([reached]).collect()
}

/// Where the n-th listener stands on the line over which news are spread, of 2^32: multiples of the golden ratio
/// cover it evenly, however many there are.
fn place(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// One that listens.
#[derive(Debug)]
pub struct Listener {
    receiver: watch::Receiver<Arc<Told>>,
    place: u64,
    /// The `sequence` heard last.
    heard: u64,
    /// The number heard last.
    number: i64,
    /// When news that wait for their turn are due.
    due: Option<Instant>,
    feed: Arc<Feed>,
}

impl Listener {
    /// What decides now, for one that knows `known`, at `now_ms`: `None` if that is the same.
    #[must_use]
    pub fn present(&mut self, dialect: Dialect, known: Option<i64>, now_ms: i64) -> Option<Bytes> {
        let told = self.receiver.borrow_and_update().clone();
        (self.heard, self.number) = (told.sequence, told.number);
        let same = known == Some(told.number) && now_ms.saturating_sub(told.last_end) > END_TOLD_MS;
        (!same).then(|| {
            self.feed.sent.inc();
            match dialect {
                Dialect::Change => told.everything.clone(),
                Dialect::Ofrep => told.refetch.clone(),
            }
        })
    }

    /// Waits for news, and for this listener's turn to hear them; what shuts something is heard at once. May be given
    /// up and called again: nothing is lost, and the turn stays.
    pub async fn news(&mut self, dialect: Dialect) -> Bytes {
        loop {
            let told = self.receiver.borrow_and_update().clone();
            if told.sequence == self.heard {
                if self.receiver.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            let turn = (told.spread.as_millis() * u128::from(self.place)) >> 32;
            let turn = Duration::from_millis(u64::try_from(turn).unwrap_or_default());
            let due = *self.due.get_or_insert_with(|| Instant::now() + turn);
            if told.urgent > self.heard || due <= Instant::now() {
                return self.hear(&told, dialect);
            }
            tokio::select! {
                () = sleep_until(due) => {}
                _ = self.receiver.changed() => {}
            }
        }
    }

    fn hear(&mut self, told: &Told, dialect: Dialect) -> Bytes {
        let missed = told.sequence - self.heard > 1;
        for reached in told.recent.iter().filter(|reached| reached.number > self.number) {
            reached.pages.fetch_add(1, Ordering::Relaxed);
        }
        (self.heard, self.number, self.due) = (told.sequence, told.number, None);
        self.feed.sent.inc();
        match dialect {
            Dialect::Ofrep => told.refetch.clone(),
            // Which flags changed in between is not known any more.
            Dialect::Change if missed => told.everything.clone(),
            Dialect::Change => told.change.clone(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.open.fetch_sub(1, Ordering::Relaxed);
        self.feed.open_gauge.dec();
    }
}

#[cfg(test)]
mod tests;
