//! What a report counts, read from the flag's document: the funnel, the metrics, the windows.

use crate::clock::HOUR_MS;
use crate::engine::flag::Document;

/// Grown whenever the same document is counted in another way than before.
const FORMAT: u32 = 3;
/// How long after the end of a window late events are waited for, in milliseconds.
pub const GRACE_MS: i64 = 10 * crate::clock::MINUTE_MS;

/// A stop of the funnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The step.
    pub step: Box<str>,
    /// Whether nobody may see it happen.
    pub optional: bool,
}

/// A step counted for treatment and control alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The step.
    pub step: Box<str>,
    /// The attribute of the event that splits it.
    pub by: Option<Box<str>>,
    /// Its values that count apart; all others count as `other`, which comes after them.
    pub values: Vec<Box<str>>,
    /// The place of its window in [`Plan::windows_ms`].
    pub window: usize,
    /// The place of the metric per whose events its own are compared; its window is the same.
    pub ratio: Option<usize>,
}

/// The step that counts as conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The metric at this place.
    Metric(usize),
    /// The stop at this place: control cannot reach it.
    Stop(usize),
}

/// What is counted of each exposure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The funnel in order.
    pub stops: Vec<Stop>,
    /// The metrics as the document lists them.
    pub metrics: Vec<Metric>,
    /// The distinct windows, ascending, in milliseconds.
    pub windows_ms: Vec<i64>,
    /// The place of the funnel's window, the flag's own, among them.
    pub funnel_window: usize,
    /// Attributes kept with an exposure, such as `user.region`.
    pub capture: Vec<Box<str>>,
    /// The conversion.
    pub goal: Option<Goal>,
    /// Two plans of the same form count alike.
    pub form: i64,
}

impl Plan {
    /// What a report of the flag `document` counts.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let own_ms = document.attribution_hours * HOUR_MS;
        let metric_ms = |at: usize| {
            document.metrics.get(at).map_or(own_ms, |metric| document.window_hours(metric) * HOUR_MS)
        };
        let mut windows_ms: Vec<i64> = (0..document.metrics.len()).map(metric_ms).chain([own_ms]).collect();
        windows_ms.sort_unstable();
        windows_ms.dedup();
        let place = |ms: i64| windows_ms.iter().position(|known| *known == ms).unwrap_or_default();
        let metrics = document.metrics.iter().enumerate().map(|(at, metric)| Metric {
            step: metric.step.as_str().into(),
            by: metric.by.clone(),
            values: metric.values.clone(),
            window: place(metric_ms(at)),
            ratio: metric
                .ratio
                .as_ref()
                .and_then(|ratio| document.metrics.iter().position(|other| other.step == *ratio)),
        });
        let stops = document
            .funnel
            .iter()
            .map(|stop| Stop { step: stop.step.as_str().into(), optional: stop.optional });
        let mut plan = Self {
            stops: stops.collect(),
            metrics: metrics.collect(),
            funnel_window: place(own_ms),
            windows_ms,
            capture: document.capture.iter().map(|attribute| attribute.to_string().into()).collect(),
            goal: None,
            form: 0,
        };
        plan.form = plan.digest();
        plan.goal = document.goal.as_ref().and_then(|goal| plan.place_of(goal.as_str()));
        plan
    }

    /// The window of the goal, or the flag's own where there is none or it is a stop: its place.
    #[must_use]
    pub fn goal_window(&self) -> usize {
        match self.goal {
            Some(Goal::Metric(at)) => self.metrics.get(at).map_or(self.funnel_window, |metric| metric.window),
            Some(Goal::Stop(_)) | None => self.funnel_window,
        }
    }

    /// The window at a place, in milliseconds.
    #[must_use]
    pub fn window_ms(&self, at: usize) -> i64 {
        self.windows_ms.get(at).copied().unwrap_or_default()
    }

    /// The longest window in milliseconds.
    #[must_use]
    pub fn longest_ms(&self) -> i64 {
        self.windows_ms.last().copied().unwrap_or_default()
    }

    /// How many windows of an exposure at `at` have closed at `as_of_ms`, grace included.
    #[must_use]
    pub fn level(&self, at: i64, as_of_ms: i64) -> usize {
        self.windows_ms.iter().take_while(|window| at + *window + GRACE_MS <= as_of_ms).count()
    }

    fn place_of(&self, step: &str) -> Option<Goal> {
        let metric = self.metrics.iter().position(|metric| &*metric.step == step).map(Goal::Metric);
        metric.or_else(|| self.stops.iter().position(|stop| &*stop.step == step).map(Goal::Stop))
    }

    fn digest(&self) -> i64 {
        let text = format!(
            "{FORMAT} {:?} {:?} {:?} {} {:?}",
            self.stops, self.metrics, self.windows_ms, self.funnel_window, self.capture
        );
        let hash = blake3::hash(text.as_bytes());
        hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flag::{Faults, read};
    use serde_json::{Value, json};

    fn plan(change: &Value) -> Plan {
        let mut document = json!({
            "key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off", "salt": "s",
            "attribution_hours": 24, "funnel": ["seen", {"step": "opened", "optional": true}],
            "metrics": [{"step": "paid", "window_hours": 72}, "failed"], "goal": "paid",
        });
        document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Plan::of(&read(&document, &mut Faults::default()).unwrap())
    }

    #[test]
    fn each_metric_has_its_window_and_the_funnel_the_flags() {
        let plan = plan(&json!({}));
        assert_eq!(plan.windows_ms, [24 * HOUR_MS, 72 * HOUR_MS]);
        assert_eq!(plan.metrics.iter().map(|metric| metric.window).collect::<Vec<_>>(), [1, 0]);
        assert_eq!((plan.funnel_window, plan.goal, plan.goal_window()), (0, Some(Goal::Metric(0)), 1));
    }

    #[test]
    fn a_window_has_closed_ten_minutes_after_its_end() {
        let plan = plan(&json!({}));
        for (as_of, level) in [
            (24 * HOUR_MS + GRACE_MS - 1, 0),
            (24 * HOUR_MS + GRACE_MS, 1),
            (72 * HOUR_MS + GRACE_MS - 1, 1),
            (72 * HOUR_MS + GRACE_MS, 2),
        ] {
            assert_eq!(plan.level(1_000, 1_000 + as_of), level, "{as_of}");
        }
    }

    #[test]
    fn only_what_is_counted_changes_the_form() {
        let form = plan(&json!({})).form;
        for same in [json!({"goal": "failed"}), json!({"name": "x", "min_effect": 0.1, "rules": []})] {
            assert_eq!(plan(&same).form, form, "{same}");
        }
        for other in [
            json!({"attribution_hours": 25}),
            json!({"funnel": ["opened", "seen"]}),
            json!({"funnel": ["seen", "opened"]}),
            json!({"metrics": ["paid", "failed"]}),
            json!({"metrics": [{"step": "paid", "window_hours": 72, "by": "m", "values": ["a"]}, "failed"]}),
            json!({"capture": ["user.region"]}),
            json!({"metrics": [{"step": "paid", "window_hours": 72}, {"step": "failed", "window_hours": 72, "ratio": "paid"}]}),
        ] {
            assert_ne!(plan(&other).form, form, "{other}");
        }
    }

    #[test]
    fn a_goal_that_is_a_stop_has_the_flags_window() {
        let plan = plan(&json!({"goal": "opened"}));
        assert_eq!((plan.goal, plan.goal_window()), (Some(Goal::Stop(1)), 0));
    }
}
