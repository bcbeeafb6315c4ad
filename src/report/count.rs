//! Counting the rows of a span: read in slices, so that neither memory nor a thread is taken for long.

use std::sync::Arc;

use super::ReportError;
use super::fact::{Earlier, Fact, Level, Span, facts};
use super::hour::{Adding, Hour};
use super::plan::Plan;
use super::rows::units;
use crate::engine::flag::Document;
use crate::store::{ReportExposure, ReportReads, ReportSpan, ReportStep};

/// About how many exposures are read and counted at once.
const ROWS_PER_SLICE: i64 = 4_000;

/// The flag whose rows are counted.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The environment's number.
    pub environment: i64,
    /// The flag's number.
    pub flag: i64,
    /// What is counted.
    pub plan: Arc<Plan>,
}

impl Subject {
    /// The flag numbered `flag` in the environment numbered `environment`, as its document says.
    #[must_use]
    pub fn of(environment: i64, flag: i64, document: &Document) -> Self {
        Self { environment, flag, plan: Arc::new(Plan::of(document)) }
    }

    /// The numbers of environment and flag.
    #[must_use]
    pub fn number(&self) -> (i64, i64) {
        (self.environment, self.flag)
    }

    pub(super) fn span(&self, span: Span) -> ReportSpan {
        let Self { environment, flag, .. } = *self;
        ReportSpan { environment, flag, from_ms: span.from_ms, to_ms: span.to_ms }
    }
}

/// Exposures and steps.
type Rows = (Vec<ReportExposure>, Vec<ReportStep>);

/// A span that is read piece by piece.
struct Slices<'s> {
    subject: &'s Subject,
    rest: Span,
    /// The metrics' steps as JSON.
    steps: String,
}

impl<'s> Slices<'s> {
    fn new(subject: &'s Subject, span: Span) -> Self {
        let steps: Vec<&str> = subject.plan.metrics.iter().map(|metric| &*metric.step).collect();
        Self { subject, rest: span, steps: serde_json::Value::from(steps).to_string() }
    }

    async fn next(&mut self, reads: &mut ReportReads) -> Result<Option<Span>, ReportError> {
        let Span { from_ms, to_ms } = self.rest;
        if from_ms >= to_ms {
            return Ok(None);
        }
        reads.renew();
        let cut = reads.cut(self.subject.span(self.rest), ROWS_PER_SLICE).await?;
        // As many at one and the same moment cannot be told apart by time.
        let to_ms = cut.map_or(to_ms, |at| at.max(from_ms + 1));
        self.rest.from_ms = to_ms;
        Ok(Some(Span { from_ms, to_ms }))
    }

    /// All rows, of exposures before `before_ms`, of the units that were exposed in a slice; `None` if nobody was.
    async fn rows(
        &self,
        reads: &mut ReportReads,
        slice: Span,
        before_ms: i64,
    ) -> Result<Option<Rows>, ReportError> {
        let before_ms = before_ms + self.subject.plan.longest_ms();
        let span = self.subject.span(slice);
        let exposures = reads.exposures(span, before_ms).await?;
        if exposures.is_empty() {
            return Ok(None);
        }
        let steps = reads.steps(span, before_ms, &self.steps).await?;
        Ok(Some((exposures, steps)))
    }

    /// What counts of the same units before any window closes: their earlier exposures to the flag, and stops from before
    /// `begins_ms`, which have an exposure after all.
    async fn open_rows(
        &self,
        reads: &mut ReportReads,
        slice: Span,
        begins_ms: i64,
    ) -> Result<Option<Rows>, ReportError> {
        let span = self.subject.span(slice);
        let exposures = reads.own_exposures(span).await?;
        if exposures.is_empty() {
            return Ok(None);
        }
        Ok(Some((exposures, reads.early_stops(span, begins_ms).await?)))
    }
}

/// The facts inside `later` of units that were exposed in `span`, as far as that exposure comes before them under the same
/// rule, arm and variant.
///
/// # Errors
/// [`ReportError`] of the database.
pub async fn followers(
    reads: &mut ReportReads,
    subject: &Subject,
    span: Span,
    later: Span,
    level: Level,
) -> Result<Vec<Fact>, ReportError> {
    let mut slices = Slices::new(subject, span);
    let mut found = Vec::new();
    while let Some(slice) = slices.next(reads).await? {
        let Some((exposures, steps)) = slices.rows(reads, slice, later.to_ms).await? else { continue };
        let (plan, flag) = (subject.plan.clone(), subject.flag);
        let work = move || {
            let mut own = Vec::new();
            for mut unit in units(&plan, flag, exposures, steps) {
                own.extend(facts(&plan, &mut unit, later, later.from_ms, level));
            }
            // Whoever was exposed in two slices belongs to the later one.
            own.retain(|fact| {
                let inside = fact.earlier.iter().filter(|earlier| span.holds(earlier.at));
                inside.map(|earlier| earlier.at).max().is_some_and(|at| slice.holds(at))
            });
            own.iter_mut().for_each(|fact| shorten(fact, span));
            own
        };
        found.extend(tokio::task::spawn_blocking(work).await?);
    }
    Ok(found)
}

/// Of earlier exposures, all of `span`, and when the latest was.
fn shorten(fact: &mut Fact, span: Span) {
    let latest = fact.earlier.iter().map(|earlier| earlier.at).max();
    fact.earlier.retain(|earlier| span.holds(earlier.at) || Some(earlier.at) == latest);
    for earlier in fact.earlier.iter_mut().filter(|earlier| !span.holds(earlier.at)) {
        *earlier = Earlier { stage: earlier.stage, at: earlier.at, ..Earlier::default() };
        // Then it is nobody's first.
        fact.stops = Vec::new();
    }
    fact.claimed = Vec::new();
}

/// What the exposures of `span` add up to.
///
/// # Errors
/// [`ReportError`] of the database.
pub async fn count(
    reads: &mut ReportReads,
    subject: &Subject,
    span: Span,
    level: Level,
) -> Result<Hour, ReportError> {
    let mut adding = Adding::default();
    let mut slices = Slices::new(subject, span);
    // Of the first exposure most windows have closed.
    let is_open = level.of(&subject.plan, span.from_ms) == 0;
    while let Some(slice) = slices.next(reads).await? {
        let rows = if is_open {
            slices.open_rows(reads, slice, span.from_ms).await?
        } else {
            slices.rows(reads, slice, slice.to_ms).await?
        };
        let Some((exposures, steps)) = rows else { continue };
        let (plan, flag) = (subject.plan.clone(), subject.flag);
        let work = move || {
            for mut unit in units(&plan, flag, exposures, steps) {
                for fact in facts(&plan, &mut unit, slice, span.from_ms, level) {
                    adding.add(&plan, fact);
                }
            }
            adding
        };
        adding = tokio::task::spawn_blocking(work).await?;
    }
    reads.renew();
    let orphans = reads.orphans(subject.span(span)).await?;
    Ok(tokio::task::spawn_blocking(move || adding.finish(orphans)).await?)
}
