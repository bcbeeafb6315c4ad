//! Counts what was stored for Prometheus.

use std::sync::Arc;

use crate::engine::decision::Arm;
use crate::engine::flag::State;
use crate::live::{Live, Published};
use crate::store::{ExposureRow, StepRow};
use crate::telemetry::metrics::Metrics;

/// Counts under the names that flags have now.
#[derive(Clone)]
pub(super) struct Counter {
    pub(super) live: Arc<Live>,
    pub(super) metrics: Metrics,
}

impl Counter {
    /// When units were last erased in `environment`: what was read before must not be believed after.
    pub(super) fn erased_at(&self, environment: i64) -> i64 {
        self.live.by_number(environment).map_or(0, |environment| environment.erased_at())
    }

    pub(super) fn published(&self, environment: i64) -> Option<Arc<Published>> {
        self.live.by_number(environment)?.published()
    }

    /// An exposure that was added.
    pub(super) fn exposure(&self, row: &ExposureRow) {
        let Some(published) = self.published(row.environment) else { return };
        if let (Some(flag), Some(arm)) = (published.snapshot.find_number(row.flag), Arm::from_number(row.arm))
            && flag.state != State::Archived
        {
            let environment = published.snapshot.environment().as_str();
            let labels = [environment, flag.key.as_str(), &row.variant, arm.as_str()];
            self.metrics.exposures.with_label_values(&labels).inc();
        }
    }

    /// A step that was added, for the exposure that it belongs to.
    pub(super) fn step(&self, row: &StepRow, flag: i64, variant: &str, arm: Arm) {
        let Some(published) = self.published(row.environment) else { return };
        let Some(flag) = published.snapshot.find_number(flag) else { return };
        // Stored all the same; an archived flag has no series.
        if flag.state == State::Archived {
            return;
        }
        let environment = published.snapshot.environment().as_str();
        let labels = [environment, flag.key.as_str(), variant, arm.as_str(), row.step.as_str()];
        self.metrics.steps.with_label_values(&labels).inc();
        if let (Some(value), Some(currency)) = (row.value, row.currency.as_deref()) {
            let [environment, flag, variant, arm, step] = labels;
            let counter =
                self.metrics.step_value.with_label_values(&[environment, flag, variant, arm, step, currency]);
            counter.inc_by(u64::try_from(value).unwrap_or_default());
        }
    }
}
