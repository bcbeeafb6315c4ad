//! The hours of a range: as they are kept, or counted now.

use std::sync::Arc;
use std::time::Duration;

use super::again::Again;
use super::amounts::Amounts;
use super::count::{Subject, count};
use super::days::{Days, whole_days};
use super::fact::{Fact, Level, Span};
use super::hour::{Main, Overlap, Segment};
use super::hours::{DAY_HOURS, Kept, Sources, Standing, hour_of, span_of};
use super::stored::{self, Attributes, Before, Needed};
use super::totals::Range;
use super::{ReportError, Reports};
use crate::clock::HOUR_MS;
use crate::store::{HourHead, NewHour, Piece, ReportReads};

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

/// What is needed beside the sums of all exposures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The captured attribute at this place of the plan.
    pub attribute: Option<usize>,
    /// By other flag.
    pub overlap: bool,
    /// Single amounts.
    pub amounts: bool,
    /// Whether days may stand for their hours.
    pub whole: Whole,
}

/// Whether days may stand for their hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// No: each hour is looked at.
    Hours,
    /// Yes, but not across the full hour that began last when so many milliseconds were yet to come.
    Days(i64),
}

impl Wanted {
    fn needed(self, range: Range) -> Needed {
        Needed {
            attributes: self.attribute.map_or(Attributes::No, Attributes::One),
            overlap: self.overlap,
            amounts: false,
            before: if range.is_cut { Before::Range(range.from_ms) } else { Before::No },
        }
    }
}

/// A part of an hour, a whole one, or a day.
#[derive(Debug, Clone)]
pub struct LoadedHour {
    /// From when to when.
    pub span: Span,
    /// Sums of all exposures.
    pub main: Main,
    /// Whether it is kept in the database.
    pub is_kept: bool,
    /// Sums of exposures of units that came before, where the range is cut; only of what is kept.
    pub again: Again,
    /// Such exposures themselves; only of what is not.
    pub facts: Vec<Fact>,
    /// By captured attribute and value.
    pub segments: Vec<Segment>,
    /// By other flag.
    pub overlap: Vec<Overlap>,
    /// Single amounts.
    pub amounts: Amounts,
}

impl LoadedHour {
    /// Nothing in a span.
    #[must_use]
    pub fn empty(span: Span) -> Self {
        Self {
            span,
            main: Main::default(),
            is_kept: false,
            again: Again::default(),
            facts: Vec::new(),
            segments: Vec::new(),
            overlap: Vec::new(),
            amounts: Amounts::default(),
        }
    }

    /// When the hour began that it is, or is part of.
    #[must_use]
    pub fn hour_ms(&self) -> i64 {
        span_of(hour_of(self.span.from_ms)).from_ms
    }

    /// When the last hour ends that it holds, or is part of.
    #[must_use]
    pub fn ends_ms(&self) -> i64 {
        span_of(hour_of(self.span.to_ms - 1)).to_ms
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
    /// Single amounts of kept hours, if they are wanted.
    pub amounts: Vec<Amounts>,
    /// Where the range begins inside an hour: exposures in kept hours that follow one of that hour.
    pub followers: Arc<Vec<Fact>>,
}

impl Loaded {
    /// Of a flag that nobody ever saw.
    #[must_use]
    pub fn nothing(range: Range, as_of_ms: i64) -> Self {
        let (hours, amounts, followers) = (Vec::new(), Vec::new(), Arc::default());
        Self { range, as_of_ms, bounds: None, waiting: 0, hours, amounts, followers }
    }
}

impl Asked {
    pub(super) fn range(self, bounds: (i64, i64), as_of_ms: i64) -> Range {
        let from_ms = self.from_ms.unwrap_or_else(|| span_of(hour_of(bounds.0)).from_ms);
        // Clocks of senders may be a little ahead.
        let to_ms = self.to_ms.unwrap_or_else(|| (bounds.1 + 1).max(as_of_ms));
        Range { from_ms, to_ms, is_cut: bounds.0 < from_ms }
    }
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
            let mut reads = self.store.report_now().await?;
            let Some(bounds) = reads.bounds(subject.environment, subject.flag).await? else {
                let range = asked.range((as_of_ms, as_of_ms), as_of_ms);
                return Ok(Loaded::nothing(range, as_of_ms));
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
            let amounts = amounts(&mut reads, subject, &sources, wanted).await?;
            let fresh = (&known, &*sources.fresh);
            let (days, fresh) = days(&mut reads, subject, fresh, (range, wanted), as_of_ms).await?;
            let kept = sources.stale.iter().map(|(hour, _)| *hour).chain(fresh).collect();
            let needed = wanted.needed(range);
            let mut hours = parts(&mut reads, subject, (Piece::Day, days), needed).await?;
            hours.extend(parts(&mut reads, subject, (Piece::Hour, kept), needed).await?);
            let mut hours: Vec<_> = hours.into_iter().map(Arc::new).collect();
            for span in sources.young {
                hours.extend(self.young(&mut reads, subject, (span, as_of_ms), &known).await?);
            }
            hours.sort_by_key(|hour| hour.span.from_ms);
            let bounds = Some(bounds);
            let mut loaded = Loaded { bounds, waiting, hours, amounts, ..Loaded::nothing(range, as_of_ms) };
            loaded.followers = self.follow(&mut reads, subject, &known, &loaded).await?;
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
            stored::encode(&counted, &again)
        });
        let new = NewHour { environment, flag, head, parts: &parts.await?? };
        self.store.keep_hour(new).await?;
        self.metrics.report_hours.only().inc();
        Ok(())
    }
}

/// Days that may stand for their hours, and the hours that are left; `known` and `fresh` are of the same state.
async fn days(
    reads: &mut ReportReads,
    subject: &Subject,
    (known, fresh): (&Kept, &[i64]),
    (range, wanted): (Range, Wanted),
    as_of_ms: i64,
) -> Result<(Vec<i64>, Vec<i64>), ReportError> {
    let days = match wanted.whole {
        Whole::Hours => Days::No,
        Whole::Days(lag_ms) => Days::Around((as_of_ms - lag_ms).div_euclid(HOUR_MS) * HOUR_MS),
    };
    let (Some(first), Some(last), true) = (fresh.first(), fresh.last(), days != Days::No) else {
        return Ok((Vec::new(), fresh.to_vec()));
    };
    let heads = reads.day_heads(subject.environment, subject.flag, (*first, *last)).await?;
    // Single exposures are told apart by value as their hour tells them.
    let is_inside = range.is_cut && range.from_ms.rem_euclid(HOUR_MS) != 0;
    let needs_apart = wanted.attribute.is_some() && is_inside;
    Ok(whole_days((&subject.plan, known), &heads, fresh, days, needs_apart))
}

/// Single amounts of the kept hours of a range, if they are wanted.
async fn amounts(
    reads: &mut ReportReads,
    subject: &Subject,
    sources: &Sources,
    wanted: Wanted,
) -> Result<Vec<Amounts>, ReportError> {
    if !wanted.amounts {
        return Ok(Vec::new());
    }
    let hours = sources.stale.iter().map(|(hour, _)| *hour).chain(sources.fresh.iter().copied()).collect();
    let needed = Needed { amounts: true, ..Needed::SUMS };
    let hours = parts(reads, subject, (Piece::Hour, hours), needed).await?;
    Ok(hours.into_iter().map(|hour| hour.amounts).collect())
}

/// Kept hours or days, with the parts that are needed, in order.
pub(super) async fn parts(
    reads: &mut ReportReads,
    subject: &Subject,
    (piece, mut numbers): (Piece, Vec<i64>),
    needed: Needed,
) -> Result<Vec<LoadedHour>, ReportError> {
    numbers.sort_unstable();
    let each = match piece {
        Piece::Hour => 1,
        Piece::Day => DAY_HOURS,
    };
    let mut read = Vec::new();
    for part in needed.parts() {
        let mut rows = Vec::new();
        // What lies between is not read: days stand for it.
        for run in numbers.chunk_by(|a, b| *b == *a + each) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            reads.renew();
            rows.extend(reads.hours(subject.number(), (*first, *last), piece, part).await?);
        }
        read.push((part, rows));
    }
    tokio::task::spawn_blocking(move || stored::decode(piece, &numbers, &read, needed)).await?
}
