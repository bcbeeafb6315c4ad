//! Counts the hours that reports will take as they are kept: as they end, as windows close, and again where rows
//! changed. One instance does it, one hour at a time, and rests after each as long as that took. From what is kept,
//! each instance tells whether flags' arms fill in the configured shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Jobs, ticks};
use crate::engine::compile::CompiledFlag;
use crate::engine::flag::{Serve, State};
use crate::engine::share::Share;
use crate::live::Published;
use crate::report::ReportError;
use crate::report::count::Subject;
use crate::report::keep::{Due, Keeping};

/// How often it is looked what is to be counted.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long hours are counted before it is looked again what is due; the lease is free in between.
const RUN_MAX: Duration = Duration::from_secs(30);
/// The lease of this work.
const LEASE: &str = "report_hours";
/// How often a gauge is computed anew, if hours were kept since.
const SHARES_EVERY: Duration = Duration::from_secs(120);

/// By environment and flag: what was found when nothing was due.
type Idle = BTreeMap<(i64, i64), Keeping>;

/// A gauge that is set: its labels, the form of the flag and the hours it was computed from, and when.
struct Told {
    labels: [String; 2],
    of: (i64, u64),
    at_ns: u64,
}

impl Jobs {
    /// Looks every few seconds, as long as the service runs.
    pub(super) async fn keep_hours(&self) {
        let mut ticks = ticks(LOOK_EVERY);
        let mut idle = Idle::default();
        let mut told: BTreeMap<(i64, i64), Told> = BTreeMap::new();
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.keep_due_hours(&mut idle).await {
                tracing::warn!(%error, "hours could not all be counted for reports; it is tried again");
            }
            if let Err(error) = self.reports.count_ahead().await {
                tracing::warn!(%error, "young hours could not be counted ahead for reports");
            }
            if let Err(error) = self.tell_shares(&mut told).await {
                tracing::warn!(%error, "shares of arms could not be checked; it is tried again");
            }
        }
    }

    /// Counts what is due, unless another instance does.
    async fn keep_due_hours(&self, idle: &mut Idle) -> Result<(), ReportError> {
        let mut due = Vec::new();
        for environment in self.live.environments() {
            let Some(published) = environment.published() else { continue };
            let subjects = subjects(&published);
            for (subject, now) in self.reports.keeping(environment.number, subjects).await? {
                if idle.get(&subject.number()) == Some(&now) {
                    continue;
                }
                let hours = self.reports.due(&subject).await?;
                if hours.is_empty() {
                    idle.insert(subject.number(), now);
                } else {
                    due.push((subject, hours));
                }
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        // What another instance counts meanwhile is found counted.
        let work = self.leases.under(LEASE, |_lease| self.count_hours(due));
        work.await?.unwrap_or(Ok(()))
    }

    async fn count_hours(&self, due: Vec<(Subject, Vec<Due>)>) -> Result<(), ReportError> {
        let began = self.clock.monotonic_ns();
        let since = |then: u64| Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(then));
        for (subject, hours) in due {
            for due in hours {
                let hour_began = self.clock.monotonic_ns();
                self.reports.keep(&subject, due).await?;
                tokio::time::sleep(since(hour_began)).await;
                if since(began) > RUN_MAX {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// `huidu_srm_sequential_p` of each open flag with a control arm; the others have none.
    async fn tell_shares(&self, told: &mut BTreeMap<(i64, i64), Told>) -> Result<(), ReportError> {
        let gauge = &self.metrics.srm_sequential_p;
        let mut measured = Vec::new();
        for environment in self.live.environments() {
            let Some(published) = environment.published() else { continue };
            let open: Vec<_> =
                published.snapshot.sorted().filter(|flag| is_measured(flag)).cloned().collect();
            for flag in open {
                let number = (environment.number, flag.number);
                measured.push(number);
                let known = told.get(&number);
                let since = known.map(|told| self.clock.monotonic_ns().saturating_sub(told.at_ns));
                if since.is_some_and(|since| Duration::from_nanos(since) < SHARES_EVERY) {
                    continue;
                }
                let before = known.map(|told| told.of).filter(|(version, _)| *version == flag.version);
                let shares =
                    self.reports.shares(&published, &flag.key, before.map(|(_, digest)| digest)).await?;
                let Some(shares) = shares else { continue };
                let labels = [environment.key.to_string(), flag.key.to_string()];
                if let Some(sequential_p) = shares.sequential_p {
                    gauge.with_label_values(&labels).set(sequential_p);
                }
                let of = (flag.version, shares.digest);
                told.insert(number, Told { labels, of, at_ns: self.clock.monotonic_ns() });
            }
        }
        // Looked at last: a flag that was shut or archived meanwhile has no series any more.
        told.retain(|number, told| {
            let stays = measured.contains(number) && self.is_still_measured(*number);
            if !stays {
                gauge.remove_label_values(&told.labels);
            }
            stays
        });
        Ok(())
    }

    fn is_still_measured(&self, (environment, flag): (i64, i64)) -> bool {
        let environments = self.live.environments();
        let own = environments.iter().find(|own| own.number == environment);
        let published = own.and_then(|own| own.published());
        published.is_some_and(|now| now.snapshot.find_number(flag).is_some_and(|flag| is_measured(flag)))
    }
}

/// What reports of the flags that are not archived count.
fn subjects(published: &Published) -> Vec<Subject> {
    let snapshot = &published.snapshot;
    let kept = snapshot.sorted().filter(|flag| flag.state != State::Archived);
    let subject = |flag: &Arc<CompiledFlag>| {
        Some(Subject::of(snapshot.environment_number(), flag.number, flag.document.as_ref()?))
    };
    kept.filter_map(subject).collect()
}

/// Whether the flag is open and has a rollout with a control arm.
fn is_measured(flag: &CompiledFlag) -> bool {
    let has_control =
        |serve: &Serve| matches!(serve, Serve::Rollout(rollout) if rollout.control > Share::NONE);
    let document = flag.document.as_ref();
    flag.is_open()
        && document.is_some_and(|document| document.rules.iter().any(|rule| has_control(&rule.serve)))
}
