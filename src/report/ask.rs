//! What is asked over HTTP: the flag found, the work bounded, the answer kept for a moment.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::about::{About, Stage};
use super::answer;
use super::compare;
use super::count::Subject;
use super::load::{Asked, Wanted, Whole};
use super::series::{self, Bucket};
use super::{ReportError, Reports};
use crate::engine::flag::State;
use crate::engine::key::FlagKey;
use crate::engine::share::Share;
use crate::live::{Environment, Published};

/// How long a report waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// What an answer depends on beside the rows of other instances, which it hears of by its age.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    environment: i64,
    flag: i64,
    /// Any change of documents.
    snapshot: i64,
    /// Any deletion.
    erased_at: i64,
    /// Any event that this instance stored.
    written: u64,
    question: Question,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The report.
    Report {
        /// The range.
        asked: Asked,
        /// A captured attribute.
        by: Option<String>,
        /// Values per user are also told with those cut that lie above this share of the positive ones.
        cap: Option<Share>,
    },
    /// The series.
    Series {
        /// The range.
        asked: Asked,
        /// Its points.
        bucket: Bucket,
    },
}

impl Question {
    fn asked(&self) -> Asked {
        match self {
            Self::Report { asked, .. } | Self::Series { asked, .. } => *asked,
        }
    }
}

impl Reports {
    /// Answers a question about a flag.
    ///
    /// # Errors
    /// [`ReportError::NotFound`] for an unknown flag, [`ReportError::Busy`] where others' reports take too long,
    /// [`ReportError::NotCaptured`] for a split by what is not kept, and any failure of the work.
    pub async fn answer(
        &self,
        environment: &Environment,
        key: &FlagKey,
        question: Question,
    ) -> Result<Arc<Value>, Arc<ReportError>> {
        let published = environment.published().ok_or(ReportError::NotFound)?;
        let flag = published.snapshot.find(key.as_str()).ok_or(ReportError::NotFound)?;
        let cached = CacheKey {
            environment: environment.number,
            flag: flag.number,
            snapshot: published.snapshot.number(),
            erased_at: environment.erased_at(),
            written: self.store.events_written(),
            question,
        };
        let counter = if self.answers.contains_key(&cached) {
            &self.metrics.cache_hits
        } else {
            &self.metrics.cache_misses
        };
        counter.with_label_values(&["reports"]).inc();
        let question = cached.question.clone();
        self.answers.try_get_with(cached, self.work(&published, key, question)).await
    }

    async fn work(
        &self,
        published: &Published,
        key: &FlagKey,
        question: Question,
    ) -> Result<Arc<Value>, ReportError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        // The semaphore is never closed.
        let Ok(Ok(_turn)) = turn else { return Err(ReportError::Busy) };
        let about = self.about(published, key).await?;
        self.asked.insert(about.subject.number(), about.subject.clone()).await;
        Ok(Arc::new(self.compute(about, question).await?))
    }

    /// Answers a question about a flag that is known already, by the newest rows.
    ///
    /// # Errors
    /// As [`Reports::answer`].
    pub async fn compute(&self, about: About, question: Question) -> Result<Value, ReportError> {
        let by = match &question {
            Question::Report { by: Some(by), .. } => Some(place_of(&about, by)?),
            Question::Report { by: None, .. } | Question::Series { .. } => None,
        };
        let cap = match &question {
            Question::Report { cap, .. } => cap.map(|cap| f64::from(cap.ppm()) / 1e6),
            Question::Series { .. } => None,
        };
        let is_report = matches!(question, Question::Report { .. });
        let whole = if is_report { Whole::Days(compare::growth_lag_ms(&about)) } else { Whole::Hours };
        let overlap = is_report && !about.neighbours.is_empty();
        let wanted = Wanted { attribute: by, overlap, amounts: cap.is_some(), whole };
        let loaded = self.load(&about.subject, question.asked(), wanted).await?;
        let work = move || match question {
            Question::Report { .. } => answer::answer(&about, &loaded, by, cap),
            Question::Series { bucket, .. } => series::series(&about, &loaded, &bucket),
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    /// The flag of that key, with its stages.
    pub(super) async fn about(&self, published: &Published, key: &FlagKey) -> Result<About, ReportError> {
        let snapshot = &published.snapshot;
        let flag = snapshot.find(key.as_str()).ok_or(ReportError::NotFound)?;
        let document = flag.document.clone().ok_or(ReportError::Unreadable)?;
        let environment = snapshot.environment_number();
        let stages = self.store.stages(environment, Some(flag.number)).await?;
        let same_place = |other: &&Arc<crate::engine::compile::CompiledFlag>| {
            let placement = other.document.as_ref().and_then(|document| document.placement.as_ref());
            other.number != flag.number
                && other.state != State::Archived
                && document.placement.is_some()
                && placement == document.placement.as_ref()
        };
        let neighbours = snapshot.sorted().filter(same_place);
        Ok(About {
            environment: snapshot.environment().to_string(),
            key: flag.key.to_string(),
            neighbours: neighbours.map(|other| (other.number, other.key.to_string())).collect(),
            subject: Subject::of(environment, flag.number, &document),
            stages: stages.iter().filter_map(Stage::read).collect(),
            document,
        })
    }
}

fn place_of(about: &About, by: &str) -> Result<usize, ReportError> {
    let capture = &about.plan().capture;
    capture.iter().position(|attribute| **attribute == *by).ok_or_else(|| ReportError::NotCaptured {
        by: by.to_owned(),
        known: capture.iter().map(ToString::to_string).collect(),
    })
}
