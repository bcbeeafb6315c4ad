//! Hours that cannot be kept yet: counted in blocks of a few minutes, which this instance remembers.
//!
//! The present hour, an hour of which a window has closed for a part, and the ends of a range that lie inside hours would
//! else be counted from their rows each time. A block is settled as an hour is: ten minutes after its end, with as many
//! windows closed for its first as for its last moment. What is not settled is counted anew.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::again::Again;
use super::count::{Subject, count};
use super::fact::{Level, Span};
use super::hour::Hour;
use super::hours::{Kept, hour_of};
use super::load::LoadedHour;
use super::plan::{GRACE_MS, Plan};
use super::{ReportError, Reports};
use crate::clock::MINUTE_MS;
use crate::store::ReportReads;

/// How long a block is, in milliseconds: a whole number of them makes an hour.
const BLOCK_MS: i64 = 5 * MINUTE_MS;
/// About how many bytes of blocks are remembered, and how many one takes at least.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const BYTES_MIN: u64 = 4_096;
/// About what an exposure adds to a block, in bytes.
const BYTES_PER_EXPOSURE: u64 = 24;
/// How long one is remembered that nobody asks for.
const UNASKED_FOR: Duration = Duration::from_secs(7_200);

/// What a block's sums depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    environment: i64,
    flag: i64,
    form: i64,
    from_ms: i64,
    level: usize,
    mark: i64,
}

/// Blocks that were counted.
pub(super) type Blocks = Cache<BlockKey, Arc<LoadedHour>>;

/// Remembers nothing yet.
pub(super) fn none() -> Blocks {
    let bytes = |_: &BlockKey, block: &Arc<LoadedHour>| {
        let bytes = BYTES_MIN + BYTES_PER_EXPOSURE * block.main.cells.units();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    };
    Cache::builder().weigher(bytes).max_capacity(BYTES_MAX).time_to_idle(UNASKED_FOR).build()
}

/// The settled blocks of a span, each with the number of windows that have closed for it, and what else it has.
#[must_use]
pub(super) fn split(plan: &Plan, span: Span, as_of_ms: i64) -> (Vec<(Span, usize)>, Vec<Span>) {
    let (mut settled, mut unsettled) = (Vec::new(), Vec::<Span>::new());
    let mut from_ms = span.from_ms;
    while from_ms < span.to_ms {
        let end = (from_ms.div_euclid(BLOCK_MS) + 1) * BLOCK_MS;
        let block = Span { from_ms, to_ms: end.min(span.to_ms) };
        let level = plan.level(from_ms, as_of_ms);
        let is_whole = block.to_ms - from_ms == BLOCK_MS;
        if is_whole && end + GRACE_MS <= as_of_ms && level == plan.level(end - 1, as_of_ms) {
            settled.push((block, level));
        } else if let Some(last) = unsettled.last_mut().filter(|last| last.to_ms == from_ms) {
            last.to_ms = block.to_ms;
        } else {
            unsettled.push(block);
        }
        from_ms = block.to_ms;
    }
    (settled, unsettled)
}

impl Reports {
    /// A settled block, counted unless it is remembered. `kept` holds the marks of the same state that `reads` sees.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn block(
        &self,
        reads: &mut ReportReads,
        subject: &Subject,
        (span, level): (Span, usize),
        kept: &Kept,
    ) -> Result<Arc<LoadedHour>, ReportError> {
        let key = key(subject, span, level, kept);
        if let Some(known) = self.blocks.get(&key).await {
            return Ok(known);
        }
        let Hour { main, again, segments, overlap } =
            count(reads, subject, span, Level::Windows(level)).await?;
        let plan = subject.plan.clone();
        let work = move || {
            let again = Again::of(&plan, &again, &segments);
            LoadedHour { span, main, again, facts: Vec::new(), segments, overlap }
        };
        let block = Arc::new(tokio::task::spawn_blocking(work).await?);
        self.blocks.insert(key, block.clone()).await;
        Ok(block)
    }

    /// Whether a settled block is remembered.
    pub(super) fn knows(&self, subject: &Subject, (span, level): (Span, usize), kept: &Kept) -> bool {
        self.blocks.contains_key(&key(subject, span, level, kept))
    }
}

fn key(subject: &Subject, span: Span, level: usize, kept: &Kept) -> BlockKey {
    BlockKey {
        environment: subject.environment,
        flag: subject.flag,
        form: subject.plan.form,
        from_ms: span.from_ms,
        level,
        mark: kept.mark(hour_of(span.from_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HOUR_MS;
    use crate::engine::flag::{Faults, read};
    use serde_json::json;

    #[test]
    fn blocks_and_the_rest_make_the_span_and_a_block_has_one_level() {
        let document = json!({"key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off",
            "salt": "s", "attribution_hours": 2});
        let plan = Plan::of(&read(&document, &mut Faults::default()).unwrap());
        // A window ends eighteen minutes and a bit into the hour: ten of grace before that.
        let as_of = 2 * HOUR_MS + 28 * MINUTE_MS + 1_234;
        let (settled, rest) = split(&plan, Span { from_ms: 0, to_ms: HOUR_MS }, as_of);
        let levels: Vec<_> = settled.iter().map(|(span, level)| (span.from_ms / MINUTE_MS, *level)).collect();
        let early = [0, 5, 10].map(|minute| (minute, 1));
        let late = [20, 25, 30, 35, 40, 45, 50, 55].map(|minute| (minute, 0));
        assert_eq!(levels, [&early[..], &late[..]].concat());
        assert_eq!(rest, [Span { from_ms: 15 * MINUTE_MS, to_ms: 20 * MINUTE_MS }]);
        // The present hour, and a span that begins and ends inside blocks.
        let present = Span { from_ms: 2 * HOUR_MS + 7, to_ms: 2 * HOUR_MS + 28 * MINUTE_MS };
        let (settled, rest) = split(&plan, present, as_of);
        let minutes =
            |span: &Span| ((span.from_ms - 2 * HOUR_MS) / MINUTE_MS, (span.to_ms - 2 * HOUR_MS) / MINUTE_MS);
        assert_eq!(settled.iter().map(|(span, _)| minutes(span)).collect::<Vec<_>>(), [(5, 10), (10, 15)]);
        assert_eq!(rest.iter().map(minutes).collect::<Vec<_>>(), [(0, 5), (15, 28)]);
    }
}
