//! Hours kept ahead of any report, and what they say of the arms' shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::about::About;
use super::blocks::{key, split};
use super::count::Subject;
use super::days::{self, Sum};
use super::fold;
use super::hours::{DAY_HOURS, Kept, Sources, hour_of};
use super::load::{Asked, Loaded, parts};
use super::plan::GRACE_MS;
use super::stages;
use super::stored::{self, Attributes, Before, Needed};
use super::totals::Range;
use super::{ReportError, Reports};
use crate::engine::key::FlagKey;
use crate::live::Published;
use crate::store::{HourHead, NewHour, Piece, ReportReads};

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

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// An hour, with the number of windows that have closed for it.
    Hour(i64, usize),
    /// The day that begins with this hour.
    Day(i64),
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

    /// Hours of a flag that should be kept and are not, or are no longer as they should be; if there are none, such days.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn due(&self, subject: &Subject) -> Result<Vec<Due>, ReportError> {
        let as_of_ms = self.clock.now_ms();
        let mut reads = self.store.report_snapshot().await?;
        let Some(Known { sources, kept, hours, .. }) = known(&mut reads, subject, as_of_ms).await? else {
            return Ok(Vec::new());
        };
        if !(sources.missing.is_empty() && sources.stale.is_empty()) {
            let hours = sources.missing.into_iter().chain(sources.stale);
            return Ok(hours.map(|(hour, level)| Due::Hour(hour, level)).collect());
        }
        let heads = reads.day_heads(subject.environment, subject.flag, hours).await?;
        let days = days::due((&subject.plan, &kept), &heads, &sources, as_of_ms);
        Ok(days.into_iter().map(|(first, _)| Due::Day(first)).collect())
    }

    /// Counts an hour, or sums a day up, and keeps it, unless somebody did so meanwhile.
    ///
    /// # Errors
    /// [`ReportError`] of the database.
    pub async fn keep(&self, subject: &Subject, due: Due) -> Result<(), ReportError> {
        match due {
            Due::Hour(hour, level) => self.refresh(subject, hour, level).await,
            Due::Day(first) => self.keep_day(subject, first).await,
        }
    }

    async fn keep_day(&self, subject: &Subject, first: i64) -> Result<(), ReportError> {
        let mut reads = self.store.report_snapshot().await?;
        let as_of_ms = self.clock.now_ms();
        let Some(Known { sources, kept, hours, .. }) = known(&mut reads, subject, as_of_ms).await? else {
            return Ok(());
        };
        let heads = reads.day_heads(subject.environment, subject.flag, hours).await?;
        let days = days::due((&subject.plan, &kept), &heads, &sources, as_of_ms);
        let Some((_, seen)) = days.into_iter().find(|(own, _)| *own == first) else { return Ok(()) };
        let needed =
            Needed { attributes: Attributes::All, overlap: true, before: Before::All, ..Needed::SUMS };
        let mut sum = Sum::default();
        for hour in first..first + DAY_HOURS {
            let own = parts(&mut reads, subject, (Piece::Hour, vec![hour]), needed).await?;
            let add = move || {
                own.into_iter().for_each(|hour| sum.add(hour));
                sum
            };
            sum = tokio::task::spawn_blocking(add).await?;
        }
        drop(reads);
        let work = move || {
            let (hour, again, level) = sum.finish();
            stored::encode(&hour, &again).map(|parts| (parts, level))
        };
        let (parts, level) = tokio::task::spawn_blocking(work).await??;
        let Subject { environment, flag, .. } = *subject;
        let head = HourHead { hour: first, form: subject.plan.form, level, seen };
        Ok(self.store.keep_day(NewHour { environment, flag, head, parts: &parts }).await?)
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
        let mut reads = self.store.report_snapshot().await?;
        let known = known(&mut reads, &about.subject, self.clock.now_ms()).await?;
        let Some(Known { sources, heads, range, .. }) = known else {
            return Ok(Some(Shares { digest: 0, sequential_p: Some(1.0) }));
        };
        if !sources.missing.is_empty() {
            return Ok(None);
        }
        let digest = digest(&heads);
        if last == Some(digest) {
            return Ok(Some(Shares { digest, sequential_p: None }));
        }
        let kept = heads.iter().filter(|head| head.form == about.plan().form).map(|head| head.hour).collect();
        let hours = parts(&mut reads, &about.subject, (Piece::Hour, kept), Needed::SUMS).await?;
        drop(reads);
        let hours = hours.into_iter().map(Arc::new).collect();
        let loaded = Loaded { hours, ..Loaded::nothing(range, self.clock.now_ms()) };
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
        let Some(Known { sources, kept, .. }) = known(&mut reads, subject, as_of_ms).await? else {
            return Ok(false);
        };
        let blocks = sources.young.into_iter().flat_map(|span| split(&subject.plan, span, as_of_ms).0);
        let keys = blocks.map(|block| key(subject, block, 0, &kept));
        let Some(key) = keys.into_iter().find(|key| !self.knows(key)) else { return Ok(false) };
        self.block(&mut reads, subject, key).await?;
        Ok(true)
    }
}

/// How all hours of a flag stand.
struct Known {
    sources: Sources,
    kept: Kept,
    heads: Vec<HourHead>,
    /// The first and the last.
    hours: (i64, i64),
    range: Range,
}

/// `None` if nothing was ever stored. `reads` see one state.
async fn known(
    reads: &mut ReportReads,
    subject: &Subject,
    as_of_ms: i64,
) -> Result<Option<Known>, ReportError> {
    let Some(bounds) = reads.bounds(subject.environment, subject.flag).await? else { return Ok(None) };
    let hours = (hour_of(bounds.0), hour_of(bounds.1));
    let marks = reads.marks(subject.environment, subject.flag, hours).await?;
    let heads = reads.heads(subject.environment, subject.flag, hours).await?;
    let range = Asked::default().range(bounds, as_of_ms);
    let kept = Kept::new(&heads, &marks);
    let sources = Sources::of(&subject.plan, &kept, bounds, range, as_of_ms);
    Ok(Some(Known { sources, kept, heads, hours, range }))
}

fn sequential_p(about: &About, loaded: &Loaded) -> f64 {
    let totals = fold::totals(about.plan(), loaded, i64::MIN);
    stages::sequential_p(about, &totals.sums)
}

fn digest(heads: &[HourHead]) -> u64 {
    let parts = heads.iter().flat_map(|head| [head.hour, head.form, head.level, head.seen]);
    parts.fold(1, |digest, part| digest.wrapping_mul(0x0100_0000_01b3) ^ part.cast_unsigned())
}
