//! Counting the rows of a span: read in slices, so that neither memory nor a thread is taken for long.

use std::sync::Arc;

use super::ReportError;
use super::fact::{Level, Span, facts};
use super::hour::{Adding, Hour};
use super::plan::Plan;
use super::rows::units;
use crate::engine::flag::Document;
use crate::store::{ReportReads, ReportSpan};

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

    fn span(&self, span: Span) -> ReportSpan {
        let Self { environment, flag, .. } = *self;
        ReportSpan { environment, flag, from_ms: span.from_ms, to_ms: span.to_ms }
    }
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
    let named: Vec<&str> = subject.plan.metrics.iter().map(|metric| &*metric.step).collect();
    let named = serde_json::Value::from(named).to_string();
    let mut adding = Adding::default();
    let mut rest = span;
    while rest.from_ms < rest.to_ms {
        reads.renew();
        let cut = reads.cut(subject.span(rest), ROWS_PER_SLICE).await?;
        // As many at one and the same moment cannot be told apart by time.
        let to_ms = cut.map_or(rest.to_ms, |at| at.max(rest.from_ms + 1));
        let slice = Span { from_ms: rest.from_ms, to_ms };
        rest.from_ms = to_ms;
        let before_ms = to_ms + subject.plan.longest_ms();
        let exposures = reads.exposures(subject.span(slice), before_ms).await?;
        if exposures.is_empty() {
            continue;
        }
        let steps = reads.steps(subject.span(slice), before_ms, &named).await?;
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
