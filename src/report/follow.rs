//! A range that begins inside an hour: of kept hours, what follows an exposure of that very hour is told by rows, since
//! their sums go by the hour. Each instance remembers it, so that only the first question of an hour reads them.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::count::{Subject, followers};
use super::fact::{Fact, Level, Span};
use super::hours::{Kept, hour_of, span_of};
use super::load::Loaded;
use super::{ReportError, Reports};
use crate::store::ReportReads;

/// About how many bytes are remembered, and how many an exposure takes.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const BYTES_PER_FACT: usize = 500;
/// How long they are remembered if nobody asks.
const UNASKED_FOR: Duration = Duration::from_secs(3_600);

/// What they depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FollowersKey {
    environment: i64,
    flag: i64,
    form: i64,
    from_ms: i64,
    to_ms: i64,
    /// Of which countings the hours are kept, with all marks.
    hours: i64,
}

/// Exposures that follow one of an hour.
pub(super) type Followers = Cache<FollowersKey, Arc<Vec<Fact>>>;

/// Remembers nothing yet.
pub(super) fn none() -> Followers {
    let bytes = |_: &FollowersKey, facts: &Arc<Vec<Fact>>| {
        u32::try_from(BYTES_PER_FACT * (1 + facts.len())).unwrap_or(u32::MAX)
    };
    Cache::builder().weigher(bytes).max_capacity(BYTES_MAX).time_to_idle(UNASKED_FOR).build()
}

impl Reports {
    /// The exposures in the kept hours of `loaded` that follow one of the hour inside which its range begins.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn follow(
        &self,
        reads: &mut ReportReads,
        subject: &Subject,
        kept: &Kept,
        loaded: &Loaded,
    ) -> Result<Arc<Vec<Fact>>, ReportError> {
        let range = loaded.range;
        let begin = span_of(hour_of(range.from_ms));
        let last = loaded.hours.iter().rev().find(|hour| hour.is_kept);
        let (Some(last), true, true) = (last, range.is_cut, begin.from_ms != range.from_ms) else {
            return Ok(Arc::default());
        };
        let later = Span { from_ms: begin.to_ms, to_ms: last.span.to_ms };
        let work = async {
            let found = followers(reads, subject, begin, later, Level::AsOf(loaded.as_of_ms)).await?;
            Ok::<_, ReportError>(Arc::new(found))
        };
        // Hours that wait are told as they were: what is read now would not fit them.
        if loaded.waiting > 0 {
            return work.await;
        }
        let key = FollowersKey {
            environment: subject.environment,
            flag: subject.flag,
            form: subject.plan.form,
            from_ms: begin.from_ms,
            to_ms: later.to_ms,
            hours: kept.state((hour_of(begin.from_ms), hour_of(later.to_ms))),
        };
        if let Some(known) = self.followers.get(&key).await {
            return Ok(known);
        }
        let found = work.await?;
        self.followers.insert(key, found.clone()).await;
        Ok(found)
    }
}
