//! The hours of a range: as they are kept, or counted now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::again::Again;
use super::blocks::split;
use super::count::{Subject, count, followers};
use super::fact::{Fact, Level, Span};
use super::hour::{Hour, Main, Overlap, Segment};
use super::hours::{Kept, Sources, Standing, hour_of, span_of};
use super::totals::Range;
use super::{ReportError, Reports};
use crate::store::{HourBytes, HourHead, HourPart, NewHour, ReportReads};

/// How long a report waits for hours that were never counted, before it asks to be called again.
const MISSING_MAX: Duration = Duration::from_secs(20);
/// How long it waits for hours that changed, before it takes them as they were.
const STALE_MAX: Duration = Duration::from_millis(1_500);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Asked {
    /// The first moment; `None`: from the beginning.
    pub from_ms: Option<i64>,
    /// The moment after the last; `None`: up to now.
    pub to_ms: Option<i64>,
}

/// Which parts of hours are needed beside the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// By captured attribute.
    pub segments: bool,
    /// By other flag.
    pub overlap: bool,
}

/// A part of an hour, or a whole one.
#[derive(Debug, Clone)]
pub struct LoadedHour {
    /// From when to when.
    pub span: Span,
    /// Sums of all exposures.
    pub main: Main,
    /// Sums of exposures of units that came before, where the range is cut; of a part that was just counted, nothing.
    pub again: Again,
    /// Such exposures themselves; only of a part that was just counted.
    pub facts: Vec<Fact>,
    /// By captured attribute and value.
    pub segments: Vec<Segment>,
    /// By other flag.
    pub overlap: Vec<Overlap>,
}

impl LoadedHour {
    /// When the hour began that it is, or is part of.
    #[must_use]
    pub fn hour_ms(&self) -> i64 {
        span_of(hour_of(self.span.from_ms)).from_ms
    }
}

/// The hours of a range.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The range, as used.
    pub range: Range,
    /// The moment whose state this is.
    pub as_of_ms: i64,
    /// When the first and the last exposure or stop was.
    pub bounds: Option<(i64, i64)>,
    /// Hours that are taken as they were before later rows came.
    pub waiting: usize,
    /// In order.
    pub hours: Vec<Arc<LoadedHour>>,
    /// Where the range begins inside an hour: exposures that follow one of that hour, by its place among the hours.
    pub followers: Vec<(usize, Fact)>,
}

impl Asked {
    pub(super) fn range(self, bounds: (i64, i64), as_of_ms: i64) -> Range {
        let from_ms = self.from_ms.unwrap_or_else(|| span_of(hour_of(bounds.0)).from_ms);
        // Clocks of senders may be a little ahead.
        let to_ms = self.to_ms.unwrap_or_else(|| (bounds.1 + 1).max(as_of_ms));
        Range { from_ms, to_ms, is_cut: bounds.0 < from_ms }
    }
}

fn encoded<T: Serialize>(part: &T) -> Result<Vec<u8>, ReportError> {
    postcard::to_stdvec(part).map_err(|error| ReportError::Kept(error.to_string()))
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReportError> {
    postcard::from_bytes(bytes).map_err(|error| ReportError::Kept(error.to_string()))
}

impl Reports {
    /// The hours of `asked`. Those that can be kept are counted once; whoever comes first waits for them.
    ///
    /// # Errors
    /// [`ReportError::Preparing`] where too many were never counted, or any failure of a read.
    pub(super) async fn load(
        &self,
        subject: &Subject,
        asked: Asked,
        wanted: Wanted,
    ) -> Result<Loaded, ReportError> {
        let (as_of_ms, began) = (self.clock.now_ms(), self.clock.monotonic_ns());
        let left = |most: Duration| {
            most.saturating_sub(Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began)))
        };
        loop {
            let mut reads = self.store.report_snapshot().await?;
            let Some(bounds) = reads.bounds(subject.environment, subject.flag).await? else {
                let range = asked.range((as_of_ms, as_of_ms), as_of_ms);
                let (hours, followers) = (Vec::new(), Vec::new());
                return Ok(Loaded { range, as_of_ms, bounds: None, waiting: 0, hours, followers });
            };
            let range = asked.range(bounds, as_of_ms);
            let hours = (hour_of(bounds.0.max(range.from_ms)), hour_of(bounds.1.min(range.to_ms - 1)));
            let heads = reads.heads(subject.environment, subject.flag, hours).await?;
            let marks = reads.marks(subject.environment, subject.flag, hours).await?;
            let known = Kept::new(&heads, &marks);
            let sources = Sources::of(&subject.plan, &known, bounds, range, as_of_ms);
            let (todo, most) = if sources.missing.is_empty() {
                (&sources.stale, STALE_MAX)
            } else {
                (&sources.missing, MISSING_MAX)
            };
            if !todo.is_empty() && !left(most).is_zero() {
                // The transaction would hold back SQLite's checkpoints meanwhile.
                drop(reads);
                for (hour, level) in todo {
                    self.refresh(subject, *hour, *level).await?;
                    if left(most).is_zero() {
                        break;
                    }
                }
                continue;
            }
            if !sources.missing.is_empty() {
                let done = sources.fresh.len() + sources.stale.len();
                return Err(ReportError::Preparing { done, total: done + sources.missing.len() });
            }
            let waiting = sources.stale.len();
            let kept = sources.stale.iter().map(|(hour, _)| *hour).chain(sources.fresh).collect();
            let hours = self.parts(&mut reads, subject, kept, range, wanted).await?;
            let mut hours: Vec<_> = hours.into_iter().map(Arc::new).collect();
            for span in sources.young {
                let (settled, unsettled) = split(&subject.plan, span, as_of_ms);
                for block in settled {
                    hours.push(self.block(&mut reads, subject, block, &known).await?);
                }
                for span in unsettled {
                    hours.push(Arc::new(unsettled_part(&mut reads, subject, span, as_of_ms).await?));
                }
            }
            hours.sort_by_key(|hour| hour.span.from_ms);
            let (bounds, followers) = (Some(bounds), Vec::new());
            let mut loaded = Loaded { range, as_of_ms, bounds, waiting, hours, followers };
            follow(&mut reads, subject, &mut loaded).await?;
            return Ok(loaded);
        }
    }

    /// Counts an hour and keeps it, unless somebody did so meanwhile. What changes while it is counted leaves a mark
    /// that was not seen, so it will be counted again.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub(super) async fn refresh(
        &self,
        subject: &Subject,
        hour: i64,
        level: usize,
    ) -> Result<(), ReportError> {
        let _one_at_a_time = self.counting.lock().await;
        let Subject { environment, flag, .. } = *subject;
        let mut reads = self.store.report_reads().await?;
        // The mark is read before the rows are.
        let marks = reads.marks(environment, flag, (hour, hour)).await?;
        let heads = reads.heads(environment, flag, (hour, hour)).await?;
        let kept = Kept::new(&heads, &marks);
        if kept.standing(&subject.plan, hour, level) == Standing::Fresh {
            return Ok(());
        }
        let counted = count(&mut reads, subject, span_of(hour), Level::Windows(level)).await?;
        drop(reads);
        let head = HourHead {
            hour,
            form: subject.plan.form,
            level: i64::try_from(level).unwrap_or(i64::MAX),
            seen: kept.mark(hour),
        };
        let plan = subject.plan.clone();
        let parts = tokio::task::spawn_blocking(move || {
            let again = Again::of(&plan, &counted.again, &counted.segments);
            Ok::<_, ReportError>([
                encoded(&counted.main)?,
                encoded(&again.whole)?,
                encoded(&counted.segments)?,
                encoded(&again.segments)?,
                encoded(&counted.overlap)?,
                encoded(&again.overlap)?,
            ])
        });
        let [cells, again, segments, segments_again, overlap, overlap_again] = &parts.await??;
        let new = NewHour {
            environment,
            flag,
            head,
            cells,
            again,
            segments,
            segments_again,
            overlap,
            overlap_again,
        };
        self.store.keep_hour(new).await?;
        self.metrics.report_hours.with_label_values(&[] as &[&str]).inc();
        Ok(())
    }

    /// The kept hours, with the parts that are wanted.
    pub(super) async fn parts(
        &self,
        reads: &mut ReportReads,
        subject: &Subject,
        mut numbers: Vec<i64>,
        range: Range,
        wanted: Wanted,
    ) -> Result<Vec<LoadedHour>, ReportError> {
        numbers.sort_unstable();
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(Vec::new()) };
        let hours = (*first, *last);
        let mut read = Vec::new();
        for (part, needed) in [
            (HourPart::Cells, true),
            (HourPart::Again, range.is_cut),
            (HourPart::Segments, wanted.segments),
            (HourPart::SegmentsAgain, wanted.segments && range.is_cut),
            (HourPart::Overlap, wanted.overlap),
            (HourPart::OverlapAgain, wanted.overlap && range.is_cut),
        ] {
            reads.renew();
            let rows = if needed {
                reads.hours(subject.environment, subject.flag, hours, part).await?
            } else {
                Vec::new()
            };
            read.push((part, rows));
        }
        tokio::task::spawn_blocking(move || decode(&numbers, &read)).await?
    }
}

/// A part of an hour that changes still.
async fn unsettled_part(
    reads: &mut ReportReads,
    subject: &Subject,
    span: Span,
    as_of_ms: i64,
) -> Result<LoadedHour, ReportError> {
    let Hour { main, again: facts, segments, overlap } =
        count(reads, subject, span, Level::AsOf(as_of_ms)).await?;
    Ok(LoadedHour { span, main, again: Again::default(), facts, segments, overlap })
}

/// Where the range begins inside an hour: reads the exposures that follow one of that hour.
async fn follow(reads: &mut ReportReads, subject: &Subject, loaded: &mut Loaded) -> Result<(), ReportError> {
    let range = loaded.range;
    let begin = span_of(hour_of(range.from_ms));
    if !range.is_cut || begin.from_ms == range.from_ms {
        return Ok(());
    }
    // Parts that were just counted hold all of theirs.
    let summed: Vec<(Span, usize)> = (0..)
        .zip(&loaded.hours)
        .filter(|(_, hour)| hour.facts.is_empty())
        .map(|(place, hour)| (hour.span, place))
        .collect();
    let Some((last, _)) = summed.last() else { return Ok(()) };
    let later = Span { from_ms: range.from_ms, to_ms: last.to_ms };
    for fact in followers(reads, subject, begin, later, Level::AsOf(loaded.as_of_ms)).await? {
        let place = summed.partition_point(|(span, _)| span.from_ms <= fact.at).checked_sub(1);
        if let Some((span, place)) = place.and_then(|place| summed.get(place))
            && span.holds(fact.at)
        {
            loaded.followers.push((*place, fact));
        }
    }
    Ok(())
}

fn decode(numbers: &[i64], parts: &[(HourPart, Vec<HourBytes>)]) -> Result<Vec<LoadedHour>, ReportError> {
    let mut hours: BTreeMap<i64, LoadedHour> = numbers
        .iter()
        .map(|hour| {
            let empty = LoadedHour {
                span: span_of(*hour),
                main: Main::default(),
                again: Again::default(),
                facts: Vec::new(),
                segments: Vec::new(),
                overlap: Vec::new(),
            };
            (*hour, empty)
        })
        .collect();
    for (part, rows) in parts {
        for row in rows {
            let Some(hour) = hours.get_mut(&row.hour) else { continue };
            match part {
                HourPart::Cells => hour.main = decoded(&row.bytes)?,
                HourPart::Again => hour.again.whole = decoded(&row.bytes)?,
                HourPart::Segments => hour.segments = decoded(&row.bytes)?,
                HourPart::SegmentsAgain => hour.again.segments = decoded(&row.bytes)?,
                HourPart::Overlap => hour.overlap = decoded(&row.bytes)?,
                HourPart::OverlapAgain => hour.again.overlap = decoded(&row.bytes)?,
            }
        }
    }
    Ok(hours.into_values().collect())
}
