//! Results: what the exposures of a flag came to, and what that says.
//!
//! Every number goes one way: the rows of an hour's exposures (`rows`) make facts (`fact`), facts add up to what is kept
//! of the hour (`hour`, `tally`), hours add up to a range (`totals`), and that is compared and told. Hours that are
//! whole, and whose windows have closed, are counted once and kept (`hours`, `load`); what is younger is counted anew
//! each time. The rows themselves are told by `export`. Reads only.

pub mod about;
pub mod again;
pub mod amounts;
mod answer;
pub mod ask;
mod blocks;
mod capped;
pub mod compare;
pub mod count;
pub mod counted;
pub mod csv;
pub mod days;
pub mod export;
pub mod fact;
mod fold;
mod follow;
pub mod funnel;
pub mod histogram;
pub mod hour;
pub mod hours;
pub mod keep;
pub mod load;
pub mod notes;
pub mod plan;
mod ratio;
mod rows;
pub mod sentence;
pub mod series;
mod shape;
pub mod sorted;
mod stages;
mod stored;
pub mod tally;
pub mod totals;
mod variants;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use serde_json::Value;
use tokio::sync::Semaphore;

use ask::CacheKey;
use blocks::Blocks;
use count::Subject;
use follow::Followers;

use crate::clock::SharedClock;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The work was given up, as at a stop.
    #[error("the work was given up: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// What is kept of an hour cannot be read, or not be written.
    #[error("a kept hour: {0}")]
    Kept(String),
    /// There is no such flag.
    #[error("there is no such flag")]
    NotFound,
    /// The stored flag is damaged.
    #[error("the stored flag cannot be read")]
    Unreadable,
    /// The split is by an attribute that is not kept with exposures.
    #[error("`by`: {by} is not captured; the flag's `capture` names {}", if known.is_empty() { "nothing".to_owned() } else { known.join(", ") })]
    NotCaptured {
        /// What was asked for.
        by: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Others' reports take long.
    #[error("as many reports as may are being computed; ask again")]
    Busy,
    /// What is counted changed, or so much came that it takes longer than anybody waits.
    #[error("{done} of {total} hours are counted; ask again")]
    Preparing {
        /// Hours that are counted.
        done: usize,
        /// All hours.
        total: usize,
    },
}

/// Reports that are computed at a time: decisions and events come first.
const AT_A_TIME: usize = 2;
/// Answers that are kept, and for how long: other instances may store events meanwhile.
const ANSWERS_MAX: u64 = 200;
const ANSWERS_FOR: Duration = Duration::from_secs(10);

/// Flags whose young hours are counted ahead, and for how long after the last question.
const ASKED_MAX: u64 = 20;
const ASKED_FOR: Duration = Duration::from_secs(3_600);

/// Computes results.
pub struct Reports {
    store: Store,
    clock: SharedClock,
    metrics: Metrics,
    turns: Semaphore,
    answers: Cache<CacheKey, Arc<Value>>,
    /// Hours are counted one at a time.
    counting: tokio::sync::Mutex<()>,
    blocks: Blocks,
    followers: Followers,
    /// Flags that somebody asked about of late.
    asked: Cache<(i64, i64), Subject>,
}

impl Reports {
    /// Reports of what `store` holds.
    #[must_use]
    pub fn new(store: Store, clock: SharedClock, metrics: Metrics) -> Self {
        Self {
            store,
            clock,
            metrics,
            turns: Semaphore::new(AT_A_TIME),
            answers: Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(ANSWERS_FOR).build(),
            counting: tokio::sync::Mutex::default(),
            blocks: blocks::none(),
            followers: follow::none(),
            asked: Cache::builder().max_capacity(ASKED_MAX).time_to_live(ASKED_FOR).build(),
        }
    }
}
