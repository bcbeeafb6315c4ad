//! Hours kept ahead of any report, and what they say of the arms' shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::about::About;
use super::blocks::split;
use super::count::Subject;
use super::fold;
use super::hours::{Kept, Sources, hour_of};
use super::load::{Asked, Loaded, Wanted};
use super::plan::GRACE_MS;
use super::stages;
use super::totals::Range;
use super::{ReportError, Reports};
use crate::engine::key::FlagKey;
use crate::live::Published;
use crate::store::HourHead;

/// As long as this is the same, and nothing was due, nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// What is counted.
    form: i64,
    /// Hours end, and windows close, ten minutes past the full hour.
    hour: i64,
    /// Rows that came late, moved or went.
    marks: i64,
}

/// What kept hours say of the arms' shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of the hours that it was computed from: the same hours give the same answer.
    pub digest: u64,
    /// Always valid, 0 to 1; `None`: the hours are those of the last time.
    pub sequential_p: Option<f64>,
}

impl Reports {
    /// By what it is known whether hours of flags of one environment may be due.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn keeping(
        &self,
        environment: i64,
        subjects: Vec<Subject>,
    ) -> Result<Vec<(Subject, Keeping)>, ReportError> {
        let hour = hour_of(self.clock.now_ms() - GRACE_MS);
        let marks = self.store.report_reads().await?.marks_made(environment).await?;
        let marks: BTreeMap<i64, i64> = marks.into_iter().collect();
        let keeping = subjects.into_iter().map(|subject| {
            let marks = marks.get(&subject.flag).copied().unwrap_or_default();
            let keeping = Keeping { form: subject.plan.form, hour, marks };
            (subject, keeping)
        });
        Ok(keeping.collect())
    }

    /// Hours of a flag that should be kept and are not, or are no longer as they should be: each with the number of
    /// windows that have closed for it.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn due(&self, subject: &Subject) -> Result<Vec<(i64, usize)>, ReportError> {
        let Some((sources, ..)) = self.sources(subject).await? else { return Ok(Vec::new()) };
        Ok(sources.missing.into_iter().chain(sources.stale).collect())
    }

    /// Counts an hour and keeps it, unless somebody did so meanwhile.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn keep_hour(&self, subject: &Subject, hour: i64, level: usize) -> Result<(), ReportError> {
        self.refresh(subject, hour, level).await
    }

    /// Whether the arms of a flag filled in the configured shares, by its kept hours; `None` while hours are counted
    /// that never were. `last` is the digest of the hours that were looked at last.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn shares(
        &self,
        published: &Published,
        key: &FlagKey,
        last: Option<u64>,
    ) -> Result<Option<Shares>, ReportError> {
        let about = self.about(published, key).await?;
        let Some((sources, heads, range)) = self.sources(&about.subject).await? else {
            return Ok(Some(Shares { digest: 0, sequential_p: Some(1.0) }));
        };
        if !sources.missing.is_empty() {
            return Ok(None);
        }
        let digest = digest(&heads);
        if last == Some(digest) {
            return Ok(Some(Shares { digest, sequential_p: None }));
        }
        let mut reads = self.store.report_snapshot().await?;
        let kept = heads.iter().filter(|head| head.form == about.plan().form).map(|head| head.hour).collect();
        let hours = self.parts(&mut reads, &about.subject, kept, range, Wanted::default()).await?;
        drop(reads);
        let hours = hours.into_iter().map(Arc::new).collect();
        let (as_of_ms, bounds, followers) = (self.clock.now_ms(), None, Vec::new());
        let loaded = Loaded { range, as_of_ms, bounds, waiting: 0, hours, followers };
        let work = move || sequential_p(&about, &loaded);
        Ok(Some(Shares { digest, sequential_p: Some(tokio::task::spawn_blocking(work).await?) }))
    }

    /// Counts what reports of the flags that were asked about of late need of hours that cannot be kept yet; rests after
    /// each block as long as that took.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn count_ahead(&self) -> Result<(), ReportError> {
        for (_, subject) in &self.asked {
            loop {
                let began = self.clock.monotonic_ns();
                if !self.count_one_ahead(&subject).await? {
                    break;
                }
                let took = self.clock.monotonic_ns().saturating_sub(began);
                tokio::time::sleep(Duration::from_nanos(took)).await;
            }
        }
        Ok(())
    }

    /// Counts a block that is not known yet; `false` if all are.
    async fn count_one_ahead(&self, subject: &Subject) -> Result<bool, ReportError> {
        let as_of_ms = self.clock.now_ms();
        let mut reads = self.store.report_snapshot().await?;
        let Some(bounds) = reads.bounds(subject.environment, subject.flag).await? else { return Ok(false) };
        let hours = (hour_of(bounds.0), hour_of(bounds.1));
        let heads = reads.heads(subject.environment, subject.flag, hours).await?;
        let kept = Kept::new(&heads, &reads.marks(subject.environment, subject.flag, hours).await?);
        let range = Asked::default().range(bounds, as_of_ms);
        let young = Sources::of(&subject.plan, &kept, bounds, range, as_of_ms).young;
        let mut blocks = young.into_iter().flat_map(|span| split(&subject.plan, span, as_of_ms).0);
        let Some(block) = blocks.find(|block| !self.knows(subject, *block, &kept)) else { return Ok(false) };
        self.block(&mut reads, subject, block, &kept).await?;
        Ok(true)
    }

    /// How all hours of a flag stand; `None` if nothing was ever stored.
    async fn sources(
        &self,
        subject: &Subject,
    ) -> Result<Option<(Sources, Vec<HourHead>, Range)>, ReportError> {
        let as_of_ms = self.clock.now_ms();
        let mut reads = self.store.report_reads().await?;
        let Some(bounds) = reads.bounds(subject.environment, subject.flag).await? else { return Ok(None) };
        let hours = (hour_of(bounds.0), hour_of(bounds.1));
        // Read before the heads: a mark that comes in between is seen by the next look.
        let marks = reads.marks(subject.environment, subject.flag, hours).await?;
        let heads = reads.heads(subject.environment, subject.flag, hours).await?;
        let range = Asked::default().range(bounds, as_of_ms);
        let sources = Sources::of(&subject.plan, &Kept::new(&heads, &marks), bounds, range, as_of_ms);
        Ok(Some((sources, heads, range)))
    }
}

fn sequential_p(about: &About, loaded: &Loaded) -> f64 {
    let totals = fold::totals(about.plan(), loaded, i64::MIN);
    stages::sequential_p(about, &totals.sums)
}

fn digest(heads: &[HourHead]) -> u64 {
    let parts = heads.iter().flat_map(|head| [head.hour, head.form, head.level, head.seen]);
    parts.fold(1, |digest, part| digest.wrapping_mul(0x0100_0000_01b3) ^ part.cast_unsigned())
}
