//! Hours that cannot be kept yet: counted in blocks of a few minutes, which this instance remembers.
//!
//! The present hour, an hour of which a window has closed for a part, and the ends of a range that lie inside hours would
//! else be counted from their rows each time. A block is settled as an hour is: ten minutes after its end, with as many
//! windows closed for its first as for its last moment. What is younger is counted in minutes, which are remembered as
//! long as no row comes to them; the rest is counted anew.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::count::{Subject, count};
use super::fact::{Level, Span};
use super::hour::Hour;
use super::hours::{Kept, hashed, hour_of};
use super::load::LoadedHour;
use super::plan::{GRACE_MS, Plan};
use super::{ReportError, Reports};
use crate::clock::MINUTE_MS;
use crate::store::{MinuteRows, ReportReads};

/// How long a block is, in milliseconds: a whole number of them makes an hour.
const BLOCK_MS: i64 = 5 * MINUTE_MS;
/// How far before the end of a minute rows may lie that come later and leave no mark: those that come within
/// [`crate::store::LATE_AFTER_MS`], with clocks that differ.
const UNMARKED_MS: i64 = GRACE_MS + 2 * MINUTE_MS;
/// About how many bytes of blocks are remembered, and how many one takes at least.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const BYTES_MIN: u64 = 4_096;
/// About what an exposure adds to a block, in bytes.
const BYTES_PER_EXPOSURE: u64 = 24;
/// About what one adds whose unit came before.
const BYTES_PER_FACT: u64 = 600;
/// How long one is remembered that nobody asks for.
const UNASKED_FOR: Duration = Duration::from_secs(7_200);

/// What a block's sums depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    environment: i64,
    flag: i64,
    form: i64,
    from_ms: i64,
    to_ms: i64,
    level: usize,
    mark: i64,
    /// Of which rows, where more may come.
    rows: i64,
}

/// Blocks that were counted.
pub(super) type Blocks = Cache<BlockKey, Arc<LoadedHour>>;

/// Remembers nothing yet.
pub(super) fn none() -> Blocks {
    let bytes = |_: &BlockKey, block: &Arc<LoadedHour>| {
        let facts = block.facts.len() as u64;
        let bytes = BYTES_MIN + BYTES_PER_EXPOSURE * block.main.cells.units() + BYTES_PER_FACT * facts;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    };
    Cache::builder().weigher(bytes).max_capacity(BYTES_MAX).time_to_idle(UNASKED_FOR).build()
}

/// The settled blocks of a span, each with the number of windows that have closed for it, and what else it has.
#[must_use]
pub(super) fn split(plan: &Plan, span: Span, as_of_ms: i64) -> (Vec<(Span, usize)>, Vec<Span>) {
    let settled_level = |block: Span| {
        let level = plan.level(block.from_ms, as_of_ms);
        let is_even = level == plan.level(block.to_ms - 1, as_of_ms);
        (block.to_ms + GRACE_MS <= as_of_ms && is_even).then_some(level)
    };
    pieces(span, BLOCK_MS, settled_level)
}

/// The minutes of an unsettled span that have ended, and for which no window has closed, and what else it has.
#[must_use]
pub(super) fn minutes(plan: &Plan, span: Span, as_of_ms: i64) -> (Vec<(Span, usize)>, Vec<Span>) {
    let open =
        |minute: Span| (minute.to_ms <= as_of_ms && plan.level(minute.from_ms, as_of_ms) == 0).then_some(0);
    pieces(span, MINUTE_MS, open)
}

/// Cuts a span where time is a multiple of `length_ms`: whole pieces that have a level, with it, and what is left.
fn pieces(
    span: Span,
    length_ms: i64,
    level: impl Fn(Span) -> Option<usize>,
) -> (Vec<(Span, usize)>, Vec<Span>) {
    let (mut whole, mut left) = (Vec::new(), Vec::<Span>::new());
    let mut from_ms = span.from_ms;
    while from_ms < span.to_ms {
        let end = (from_ms.div_euclid(length_ms) + 1) * length_ms;
        let piece = Span { from_ms, to_ms: end.min(span.to_ms) };
        let is_whole = piece.to_ms - from_ms == length_ms;
        if let Some(level) = level(piece).filter(|_| is_whole) {
            whole.push((piece, level));
        } else if let Some(last) = left.last_mut().filter(|last| last.to_ms == from_ms) {
            last.to_ms = piece.to_ms;
        } else {
            left.push(piece);
        }
        from_ms = piece.to_ms;
    }
    (whole, left)
}

/// How many rows young minutes have: a minute is what it was as long as it and those before it, into which a row may come
/// that leaves no mark, hold the same.
#[derive(Debug, Default)]
pub(super) struct Filled(Vec<MinuteRows>);

impl Filled {
    /// Reads it, for all minutes of these spans.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn read(
        reads: &mut ReportReads,
        subject: &Subject,
        spans: &[(Span, usize)],
    ) -> Result<Self, ReportError> {
        let Some((first, last)) = spans.first().zip(spans.last()) else { return Ok(Self::default()) };
        let span = Span { from_ms: first.0.from_ms - UNMARKED_MS, to_ms: last.0.to_ms };
        Ok(Self(reads.filled(subject.span(span)).await?))
    }

    /// Of a minute.
    fn digest(&self, minute: Span) -> i64 {
        let window = minute.from_ms - UNMARKED_MS..minute.to_ms;
        let inside = self.0.iter().filter(|rows| window.contains(&(rows.minute * MINUTE_MS)));
        // 0 is what settled blocks have.
        hashed(inside.map(|rows| [rows.minute, rows.is_stop, rows.rows, rows.sum])) | 1
    }
}

impl Reports {
    /// The blocks of a young span, and what is left of it, all counted unless it is remembered. `kept` holds the marks of
    /// the same state that `reads` sees.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn young(
        &self,
        reads: &mut ReportReads,
        subject: &Subject,
        (span, as_of_ms): (Span, i64),
        kept: &Kept,
    ) -> Result<Vec<Arc<LoadedHour>>, ReportError> {
        let mut young = Vec::new();
        let (settled, unsettled) = split(&subject.plan, span, as_of_ms);
        for (span, level) in settled {
            young.push(self.block(reads, subject, key(subject, (span, level), 0, kept)).await?);
        }
        for span in unsettled {
            let (minutes, rest) = minutes(&subject.plan, span, as_of_ms);
            let filled = Filled::read(reads, subject, &minutes).await?;
            for minute in minutes {
                let key = key(subject, minute, filled.digest(minute.0), kept);
                young.push(self.block(reads, subject, key).await?);
            }
            for span in rest {
                young.push(counted(reads, subject, span, Level::AsOf(as_of_ms)).await?);
            }
        }
        Ok(young)
    }

    /// A block, counted unless it is remembered.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn block(
        &self,
        reads: &mut ReportReads,
        subject: &Subject,
        key: BlockKey,
    ) -> Result<Arc<LoadedHour>, ReportError> {
        let (span, level) = (Span { from_ms: key.from_ms, to_ms: key.to_ms }, key.level);
        if let Some(known) = self.blocks.get(&key).await {
            return Ok(known);
        }
        let block = counted(reads, subject, span, Level::Windows(level)).await?;
        self.blocks.insert(key, block.clone()).await;
        Ok(block)
    }

    /// Whether a settled block is remembered.
    pub(super) fn knows(&self, key: &BlockKey) -> bool {
        self.blocks.contains_key(key)
    }
}

/// A part of an hour that is not kept.
async fn counted(
    reads: &mut ReportReads,
    subject: &Subject,
    span: Span,
    level: Level,
) -> Result<Arc<LoadedHour>, ReportError> {
    let Hour { main, again: facts, segments, overlap, amounts } = count(reads, subject, span, level).await?;
    Ok(Arc::new(LoadedHour { main, facts, segments, overlap, amounts, ..LoadedHour::empty(span) }))
}

/// What the sums of a block depend on; `rows` is 0 for a settled one.
pub(super) fn key(subject: &Subject, (span, level): (Span, usize), rows: i64, kept: &Kept) -> BlockKey {
    BlockKey {
        to_ms: span.to_ms,
        rows,
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

    #[test]
    fn a_minute_is_what_it_was_until_a_row_comes_to_it_or_shortly_before() {
        let minute = |at: i64| Span { from_ms: at * MINUTE_MS, to_ms: (at + 1) * MINUTE_MS };
        let rows = |minute: i64, rows: i64| MinuteRows { minute, is_stop: 0, rows, sum: 7 };
        let filled = Filled(vec![rows(100, 3), rows(112, 1), rows(113, 5)]);
        let digest = |rows: Vec<MinuteRows>| Filled(rows).digest(minute(112));
        let own = filled.digest(minute(112));
        assert_eq!(digest(vec![rows(100, 3), rows(112, 1), rows(113, 6)]), own, "later minutes are others'");
        assert_eq!(
            digest(vec![rows(99, 1), rows(100, 3), rows(112, 1)]),
            own,
            "what comes there leaves a mark"
        );
        assert_ne!(digest(vec![rows(100, 4), rows(112, 1)]), own);
        assert_ne!(digest(vec![rows(100, 3), rows(112, 2)]), own);
        assert_ne!(digest(vec![rows(100, 3), MinuteRows { is_stop: 1, ..rows(112, 1) }]), own);
    }
}
