//! All of huidu's metrics, in one place: name, help and labels. Labels come from the configuration
//! only, never from a request, so that the number of series is bounded.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use super::family::Family;

/// Why the metrics cannot be set up or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal [$($label:literal),*];)*) => {
        /// Every metric of the service.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            /// What is told of any process.
            process: Registry,
            $($(#[doc = $help])+ pub $field: Family<$kind, { <[&str]>::len(&[$($label),*]) }>,)*
        }

        impl Metrics {
            /// Every metric, without series but for what counts without labels.
            ///
            /// # Errors
            /// [`MetricsError`] if one cannot be made, which a test rules out.
            pub fn new() -> Result<Self, MetricsError> {
                let process = Registry::new();
                #[cfg(target_os = "linux")]
                process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
                let metrics = Self {
                    process,
                    $($field: Family::new($name, concat!($($help),+).trim_ascii(), [$($label),*])?,)*
                };
                metrics.begin_at_zero();
                Ok(metrics)
            }

            fn write(&self, out: &mut String) {
                $(self.$field.write(out);)*
            }
        }
    };
}

metrics! {
    /// Decisions made, by what was served and why.
    decisions: IntCounter = "huidu_decisions_total" ["environment", "flag", "variant", "reason"];
    /// Decisions that gave an error instead of a variant.
    decision_errors: IntCounter = "huidu_decision_errors_total" ["environment", "flag", "code"];
    /// Exposures stored by this instance: one a unit, stage and rule.
    exposures: IntCounter = "huidu_exposures_total" ["environment", "flag", "variant", "arm"];
    /// Steps stored by this instance; a metric step counts once for each flag that it is attributed to.
    steps: IntCounter = "huidu_steps_total" ["environment", "flag", "variant", "arm", "step"];
    /// Value of the steps stored by this instance, in the currency's minor unit.
    step_value: IntCounter = "huidu_step_value_total" ["environment", "flag", "variant", "arm", "step", "currency"];
    /// Units with a stored exposure, as the database has them: take the maximum over instances, not the sum.
    exposed_users: IntGauge = "huidu_exposed_users" ["environment", "flag", "variant", "arm"];
    /// Configured share of units of a rollout, 0 to 1; 0 while the flag is shut.
    rollout_ratio: Gauge = "huidu_rollout_ratio" ["environment", "flag", "rule", "arm"];
    /// Whether a flag decides by its rules (1) or is shut (0).
    flag_open: IntGauge = "huidu_flag_open" ["environment", "flag"];
    /// Whether a variant shows the entry (1) or is the flag's off variant (0): to join decisions with.
    variant_visible: IntGauge = "huidu_variant_visible" ["environment", "flag", "variant"];
    /// Place of a step in the flag's funnel, from 1: to put steps in order.
    funnel_position: IntGauge = "huidu_funnel_position" ["environment", "flag", "step"];
    /// 1 for the step that counts as the flag's conversion: to join steps with.
    goal: IntGauge = "huidu_goal" ["environment", "flag", "step"];
    /// How much more often than in control a step may happen, as a share of exposed units: 0.002 is 0.2 points.
    guardrail_margin: Gauge = "huidu_guardrail_margin_ratio" ["environment", "flag", "step"];
    /// How often a step may happen, as a share of exposed units.
    guardrail_limit: Gauge = "huidu_guardrail_limit_ratio" ["environment", "flag", "step"];
    /// Flags whose stored form cannot be read: they answer an error.
    flags_unreadable: IntGauge = "huidu_flags_unreadable" ["environment"];
    /// Flags that decide by an older form, because the newest cannot be read.
    frozen_flags: IntGauge = "huidu_frozen_flags" ["environment"];
    /// Whether the database answers (1) or is away (0).
    database_reachable: IntGauge = "huidu_database_reachable" [];
    /// When the database last agreed with what decides; its distance from now is the age of the state served.
    state_confirmed: Gauge = "huidu_state_confirmed_timestamp_seconds" ["environment"];
    /// When the last good state was last written to disk.
    copy_written: Gauge = "huidu_copy_written_timestamp_seconds" [];
    /// Attempts to write the last good state to disk that failed.
    copy_failures: IntCounter = "huidu_copy_write_failures_total" [];
    /// Time from a request's arrival to its answer.
    http_duration: Histogram = "huidu_http_request_duration_seconds" ["route", "status"];
    /// Number of the snapshot that decides.
    snapshot_number: IntGauge = "huidu_snapshot_number" ["environment"];
    /// When the snapshot that decides was published.
    snapshot_timestamp: Gauge = "huidu_snapshot_timestamp_seconds" ["environment"];
    /// Time from a change's commit to this instance deciding by it.
    propagation: Histogram = "huidu_propagation_seconds" [];
    /// Streams of changes that are open.
    streams_open: IntGauge = "huidu_streams_open" ["environment"];
    /// Streams refused, by the limit that was reached.
    streams_refused: IntCounter = "huidu_streams_refused_total" ["limit"];
    /// Events sent to streams, one a stream; heartbeats are not counted.
    stream_events: IntCounter = "huidu_stream_events_total" ["environment"];
    /// Bytes of audiences that are held in memory.
    audience_bytes: IntGauge = "huidu_audience_bytes" ["environment"];
    /// Look-ups that a cache answered.
    cache_hits: IntCounter = "huidu_cache_hits_total" ["cache"];
    /// Look-ups that went on to the database.
    cache_misses: IntCounter = "huidu_cache_misses_total" ["cache"];
    /// Events stored.
    events_accepted: IntCounter = "huidu_events_accepted_total" ["environment"];
    /// Events that were there already.
    events_duplicate: IntCounter = "huidu_events_duplicate_total" ["environment"];
    /// Events refused, by code.
    events_rejected: IntCounter = "huidu_events_rejected_total" ["environment", "code"];
    /// Events whose time was moved: too far ahead, or before the token's day.
    events_clamped: IntCounter = "huidu_events_clamped_total" ["environment"];
    /// Events that wait for the writer.
    event_queue: IntGauge = "huidu_event_queue_events" [];
    /// Bytes of the events that wait for the writer.
    event_queue_bytes: IntGauge = "huidu_event_queue_bytes" [];
    /// Events that may wait; more are refused.
    event_queue_limit_events: IntGauge = "huidu_event_queue_limit_events" [];
    /// Bytes of events that may wait.
    event_queue_limit_bytes: IntGauge = "huidu_event_queue_limit_bytes" [];
    /// Calls with events that were refused because too many wait.
    event_queue_full: IntCounter = "huidu_event_queue_full_total" [];
    /// Time of one commit of events.
    event_commit: Histogram = "huidu_event_commit_duration_seconds" [];
    /// Rows deleted by this instance because they were older than they are kept.
    retention_deleted: IntCounter = "huidu_retention_deleted_rows_total" ["table"];
    /// When old rows were last deleted, over all instances; 0 for never.
    retention_last_run: Gauge = "huidu_retention_last_run_timestamp_seconds" [];
    /// Hours of exposures that this instance counted for reports.
    report_hours: IntCounter = "huidu_report_hours_total" [];
    /// How surprising the shares of a flag's arms are, by the hours that ended: always valid, 0 to 1; under 0.01 is a mismatch.
    srm_sequential_p: Gauge = "huidu_srm_sequential_p" ["environment", "flag"];
    /// Refused calls without a valid key.
    auth_failures: IntCounter = "huidu_auth_failures_total" [];
    /// The running version.
    build_info: IntGauge = "huidu_build_info" ["version"];
}

impl Metrics {
    /// Counters without labels are there before they count, so that the first of anything is a rise.
    fn begin_at_zero(&self) {
        for counter in [&self.auth_failures, &self.event_queue_full, &self.copy_failures] {
            counter.only();
        }
    }

    /// The same for what is counted by environment.
    pub fn begin_environment(&self, environment: &str) {
        for counter in
            [&self.events_accepted, &self.events_duplicate, &self.events_clamped, &self.stream_events]
        {
            counter.with_label_values(&[environment]);
        }
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// [`MetricsError`] if one cannot be written.
    pub fn text(&self) -> Result<String, MetricsError> {
        let mut text = String::new();
        self.write(&mut text);
        prometheus::TextEncoder::new().encode_utf8(&self.process.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_is_named_after_huidu() {
        let metrics = Metrics::new().unwrap();
        metrics.decisions.with_label_values(&["production", "f", "on", "SPLIT"]).inc();
        let text = metrics.text().unwrap();
        assert!(text.contains("huidu_decisions_total{environment=\"production\",flag=\"f\",reason=\"SPLIT\",variant=\"on\"} 1"), "{text}");
        assert!(text.contains("# HELP huidu_decisions_total Decisions made, by what was served and why."));
    }
}
