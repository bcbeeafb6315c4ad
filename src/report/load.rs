//! The hours of a range: as they are kept, or counted now.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::count::{Subject, count};
use super::fact::{Fact, Level};
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
#[derive(Debug, Clone, Default)]
pub struct LoadedHour {
    /// Its first moment.
    pub from_ms: i64,
    /// Sums of all exposures.
    pub main: Main,
    /// Exposures of units that came before, where the range is cut.
    pub again: Vec<Fact>,
    /// By captured attribute and value.
    pub segments: Vec<Segment>,
    /// By other flag.
    pub overlap: Vec<Overlap>,
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
    pub hours: Vec<LoadedHour>,
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
                return Ok(Loaded { range, as_of_ms, bounds: None, waiting: 0, hours: Vec::new() });
            };
            let range = asked.range(bounds, as_of_ms);
            let hours = (hour_of(bounds.0.max(range.from_ms)), hour_of(bounds.1.min(range.to_ms - 1)));
            let heads = reads.heads(subject.environment, subject.flag, hours).await?;
            let marks = reads.marks(subject.environment, subject.flag, hours).await?;
            let sources = Sources::of(&subject.plan, &Kept::new(&heads, &marks), bounds, range, as_of_ms);
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
            let mut loaded = Loaded { range, as_of_ms, bounds: Some(bounds), waiting, hours };
            for span in sources.young {
                let hour = count(&mut reads, subject, span, Level::AsOf(as_of_ms)).await?;
                let Hour { main, again, segments, overlap } = hour;
                loaded.hours.push(LoadedHour { from_ms: span.from_ms, main, again, segments, overlap });
            }
            loaded.hours.sort_by_key(|hour| hour.from_ms);
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
        let parts = tokio::task::spawn_blocking(move || {
            Ok::<_, ReportError>([
                encoded(&counted.main)?,
                encoded(&counted.again)?,
                encoded(&counted.segments)?,
                encoded(&counted.overlap)?,
            ])
        });
        let [cells, again, segments, overlap] = &parts.await??;
        let new = NewHour { environment, flag, head, cells, again, segments, overlap };
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
            (HourPart::Overlap, wanted.overlap),
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

fn decode(numbers: &[i64], parts: &[(HourPart, Vec<HourBytes>)]) -> Result<Vec<LoadedHour>, ReportError> {
    let mut hours: BTreeMap<i64, LoadedHour> = numbers
        .iter()
        .map(|hour| (*hour, LoadedHour { from_ms: span_of(*hour).from_ms, ..LoadedHour::default() }))
        .collect();
    for (part, rows) in parts {
        for row in rows {
            let Some(hour) = hours.get_mut(&row.hour) else { continue };
            match part {
                HourPart::Cells => hour.main = decoded(&row.bytes)?,
                HourPart::Again => hour.again = decoded(&row.bytes)?,
                HourPart::Segments => hour.segments = decoded(&row.bytes)?,
                HourPart::Overlap => hour.overlap = decoded(&row.bytes)?,
            }
        }
    }
    Ok(hours.into_values().collect())
}
