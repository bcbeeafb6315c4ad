//! Shapes of reports.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::values::{ByEntry, RatioRow, ValueRow};

/// What a flag came to.
#[derive(ToSchema)]
pub(super) struct Report {
    /// The flag.
    pub(super) flag: String,
    /// Its environment.
    pub(super) environment: String,
    /// The step that counts as conversion.
    #[schema(required = true)]
    pub(super) goal: Option<String>,
    /// The first moment, as used.
    #[schema(format = DateTime)]
    pub(super) from: String,
    /// The moment after the last, as used.
    #[schema(format = DateTime)]
    pub(super) to: String,
    /// The moment whose state this is.
    #[schema(format = DateTime)]
    pub(super) computed_at: String,
    /// The flag's window in hours.
    pub(super) attribution_hours: i64,
    /// By rule, arm and variant.
    pub(super) variants: Vec<VariantRow>,
    /// Each variant against control, the goal first.
    pub(super) comparisons: Vec<ComparisonRow>,
    /// What may not get worse.
    pub(super) guardrails: Vec<GuardrailRow>,
    /// Value per user against control.
    pub(super) values: Vec<ValueRow>,
    /// Ratio metrics against control.
    pub(super) ratios: Vec<RatioRow>,
    /// Units that changed arm or variant between stages.
    pub(super) switched_units: u64,
    /// Stops of units without an exposure of their stage and rule.
    pub(super) without_exposure: u64,
    /// By value of `by`; empty without it.
    pub(super) segments: Vec<SegmentRow>,
    /// By other entry of the same placement.
    pub(super) overlap: Vec<OverlapRow>,
    /// What each stage was, and what it brought.
    pub(super) stages: Vec<StageEntry>,
    /// Whether units came in the shares that the percentages say.
    pub(super) srm: SrmEntry,
    /// What to know, and why figures are `null`.
    pub(super) notes: Vec<NoteEntry>,
}

/// One row: a rule, an arm, a variant. Each unit counts once, by its first exposure in the range.
#[derive(ToSchema)]
pub(super) struct VariantRow {
    /// The rule.
    pub(super) rule: String,
    /// The variant.
    pub(super) variant: String,
    /// How units came to it.
    pub(super) arm: ArmWord,
    /// Units whose window, that of the goal, has closed.
    pub(super) exposed_users: u64,
    /// Units whose window is still open.
    pub(super) maturing_users: u64,
    /// Of the exposed, those who converted; `null` without a goal.
    #[schema(required = true)]
    pub(super) converted_users: Option<u64>,
    /// Converted over exposed.
    #[schema(required = true)]
    pub(super) rate: Option<f64>,
    /// Its interval of 95 % (Wilson).
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) rate_ci: Option<Vec<f64>>,
    /// Sums of the goal's values by currency, in its minor unit.
    pub(super) value: BTreeMap<String, f64>,
    /// Units whose window, that of the flag, has closed: what `of_exposed` divides by.
    pub(super) funnel_exposed_users: u64,
    /// The funnel's stops in order.
    pub(super) funnel: Vec<StopEntry>,
    /// All metrics.
    pub(super) metrics: Vec<MetricEntry>,
}

/// How a unit came to its variant.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum ArmWord {
    /// Inside the percentage.
    Treatment,
    /// Measured, served off.
    Control,
    /// A rule's fixed variant: never compared.
    Fixed,
}

/// A stop of the funnel.
#[derive(ToSchema)]
pub(super) struct StopEntry {
    /// The step.
    pub(super) step: String,
    /// Whether nobody may see it happen.
    pub(super) optional: bool,
    /// Units that reached it, in order.
    pub(super) users: u64,
    /// Of those, the ones of which only a later stop was seen.
    pub(super) inferred: u64,
    /// Users over exposed.
    #[schema(required = true)]
    pub(super) of_exposed: Option<f64>,
    /// Users over those of the stop before.
    #[schema(required = true)]
    pub(super) of_previous: Option<f64>,
    /// From the stop before, or the exposure; told within 1.6 %.
    #[schema(required = true)]
    pub(super) median_seconds_from_previous: Option<f64>,
    /// Units with an event of it that does not fit the order.
    pub(super) out_of_order: u64,
}

/// A metric of one row.
#[derive(ToSchema)]
pub(super) struct MetricEntry {
    /// The step.
    pub(super) step: String,
    /// Units with an event inside the metric's window.
    pub(super) users: u64,
    /// Units whose window, that of the metric, has closed.
    pub(super) exposed_users: u64,
    /// Units whose window is still open.
    pub(super) maturing_users: u64,
    /// Users over exposed.
    #[schema(required = true)]
    pub(super) rate: Option<f64>,
    /// Its interval of 95 % (Wilson).
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) rate_ci: Option<Vec<f64>>,
    /// Events.
    pub(super) events: u64,
    /// Sums of values by currency, in its minor unit.
    pub(super) value: BTreeMap<String, f64>,
    /// Units by value of the metric's `by`; one with two values counts in both.
    #[schema(nullable = false)]
    pub(super) by: Option<BTreeMap<String, u64>>,
}

/// One variant against control on one step: inside each stage, pooled over them.
#[derive(ToSchema)]
pub(super) struct ComparisonRow {
    /// The rule.
    pub(super) rule: String,
    /// The variant.
    pub(super) variant: String,
    /// Control's variant.
    pub(super) baseline: String,
    /// The step.
    pub(super) metric: String,
    /// Stages with both arms.
    pub(super) stages_pooled: Vec<u32>,
    /// Stages with one arm only.
    pub(super) stages_left_out: Vec<u32>,
    /// The variant's rate, weighted over the stages.
    #[schema(required = true)]
    pub(super) treatment_rate: Option<f64>,
    /// Control's rate with the same weights.
    #[schema(required = true)]
    pub(super) control_rate: Option<f64>,
    /// Their difference: 0.012 is 1.2 points.
    #[schema(required = true)]
    pub(super) absolute_lift: Option<f64>,
    /// Its interval, right if this is the only look.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) absolute_ci: Option<Vec<f64>>,
    /// Their ratio less 1.
    #[schema(required = true)]
    pub(super) relative_lift: Option<f64>,
    /// Its interval, right if this is the only look; `null` on an unbounded side.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) relative_ci: Option<Vec<Option<f64>>>,
    /// Of every interval here.
    pub(super) confidence: f64,
    /// Right if this is the only look.
    #[schema(required = true)]
    pub(super) p_value: Option<f64>,
    /// The difference's interval, right however often you look: it alone decides.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) always_valid_ci: Option<Vec<f64>>,
    /// The ratio's, in step with it.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) always_valid_relative_ci: Option<Vec<Option<f64>>>,
    /// Right however often you look.
    #[schema(required = true)]
    pub(super) always_valid_p: Option<f64>,
    /// Of the goal only; decides nothing.
    #[schema(required = true)]
    pub(super) probability_better: Option<f64>,
    /// What choosing the variant would cost if it is worse; of the goal only.
    #[schema(required = true)]
    pub(super) expected_loss: Option<f64>,
    /// `always_valid_p` adjusted for how many comparisons there are; not of the goal.
    #[schema(required = false)]
    pub(super) adjusted_p: Option<f64>,
    /// What may be said.
    pub(super) verdict: VerdictWord,
    /// Why there is no verdict.
    #[schema(required = true)]
    pub(super) why: Option<String>,
    /// Where undecided: the guardrail's margin, if it is proven to be worse by less.
    #[schema(required = true)]
    pub(super) not_worse_than: Option<f64>,
    /// When it is worth looking again; of the goal only, where undecided.
    #[schema(required = true)]
    pub(super) look_again: Option<LookAgainEntry>,
    /// The smallest effect that could be found now.
    #[schema(required = true)]
    pub(super) smallest_effect: Option<SmallestEffect>,
    /// By value of the metric's `by`, weighted as the whole is; empty where there is nothing to compare.
    #[schema(nullable = false)]
    pub(super) by: Option<Vec<ByEntry>>,
    /// The result in plain words; not of segments and overlap.
    #[schema(required = false)]
    pub(super) sentence: Option<Sentence>,
}

/// A result in plain words.
#[derive(ToSchema)]
pub(super) struct Sentence {
    /// In English.
    pub(super) en: String,
    /// In Chinese.
    pub(super) zh: String,
}

/// What may be said of a comparison.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum VerdictWord {
    /// Proven better than control.
    Better,
    /// Proven worse.
    Worse,
    /// Neither.
    Undecided,
    /// Nothing to compare, or not to be believed.
    NoComparison,
}

/// When to look again.
#[derive(ToSchema)]
pub(super) struct LookAgainEntry {
    /// After so many more users.
    pub(super) users: u64,
    /// In so many days.
    pub(super) days: u32,
}

/// The smallest effect that could be found, with 80 % power.
#[derive(ToSchema)]
pub(super) struct SmallestEffect {
    /// By a single look.
    #[schema(required = true)]
    pub(super) fixed: Option<f64>,
    /// By the always-valid interval.
    #[schema(required = true)]
    pub(super) always_valid: Option<f64>,
    /// Days until the flag's `min_effect` could be found by a single look, its window included.
    #[schema(required = true)]
    pub(super) days_fixed: Option<u32>,
    /// The same, by the always-valid interval.
    #[schema(required = true)]
    pub(super) days_always_valid: Option<u32>,
}

/// A guardrail: with `margin` against control, with `limit` by its rate.
#[derive(ToSchema)]
pub(super) struct GuardrailRow {
    /// The rule.
    pub(super) rule: String,
    /// The variant.
    pub(super) variant: String,
    /// Control's variant.
    pub(super) baseline: String,
    /// The step.
    pub(super) step: String,
    /// By how much it may be worse.
    #[schema(nullable = false)]
    pub(super) margin: Option<f64>,
    /// The variant's rate.
    pub(super) treatment_rate: Option<f64>,
    /// Control's rate.
    pub(super) control_rate: Option<f64>,
    /// Their difference; over 0 is worse.
    pub(super) difference: Option<f64>,
    /// Its bounds, each right however often you look.
    #[schema(min_items = 2, max_items = 2)]
    pub(super) always_valid_bounds: Option<Vec<f64>>,
    /// The smallest margin that could be proven now.
    pub(super) provable_margin: Option<f64>,
    /// The highest rate allowed.
    #[schema(nullable = false)]
    pub(super) limit: Option<f64>,
    /// The rate seen.
    pub(super) rate: Option<f64>,
    /// Evidence that it is higher; broken from 20 on.
    pub(super) e_value: Option<f64>,
    /// What it says.
    pub(super) state: GuardrailWord,
    /// The same in plain words.
    pub(super) sentence: Sentence,
}

/// What a guardrail says.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum GuardrailWord {
    /// Proven to be inside.
    Holds,
    /// Not proven either way.
    Undecided,
    /// Proven worse than control, not beyond the margin.
    Harmed,
    /// Proven to be beyond.
    Broken,
}

/// Units with one value of an attribute at the exposure that is shown.
#[derive(ToSchema)]
pub(super) struct SegmentRow {
    /// The value; `other` for all that are not shown apart.
    pub(super) value: String,
    /// Whether it is those others.
    pub(super) is_rest: bool,
    /// As in the report, without medians.
    pub(super) variants: Vec<VariantRow>,
    /// Exploratory: without verdicts.
    pub(super) comparisons: Vec<ComparisonRow>,
}

/// Units that saw another entry of the placement too.
#[derive(ToSchema)]
pub(super) struct OverlapRow {
    /// The other flag.
    pub(super) flag: String,
    /// Units that saw both before their shortest window closed, of those whose has.
    pub(super) units: u64,
    /// The goal among them.
    pub(super) saw: Vec<ComparisonRow>,
    /// The goal among the others.
    pub(super) did_not: Vec<ComparisonRow>,
}

/// One rule in one stage.
#[derive(ToSchema)]
pub(super) struct StageEntry {
    /// The stage.
    pub(super) stage: i64,
    /// When it began.
    #[schema(format = DateTime)]
    pub(super) from: String,
    /// When it ended; `null`: it is open.
    #[schema(required = true, format = DateTime)]
    pub(super) to: Option<String>,
    /// The rule.
    pub(super) rule: String,
    /// Treated, in percent.
    #[schema(required = true)]
    pub(super) percent: Option<f64>,
    /// Measured as control, in percent.
    #[schema(required = true)]
    pub(super) control: Option<f64>,
    /// By variant.
    pub(super) arms: BTreeMap<String, StageArm>,
}

/// Units of one variant in one stage.
#[derive(ToSchema)]
pub(super) struct StageArm {
    /// All that were exposed, at once.
    pub(super) units: u64,
    /// Those whose window has closed.
    pub(super) matured_units: u64,
    /// Of those, who converted.
    #[schema(required = true)]
    pub(super) converted: Option<u64>,
}

/// Whether units came in the expected shares.
#[derive(ToSchema)]
pub(super) struct SrmEntry {
    /// By stage and rule.
    pub(super) per_stage: Vec<SrmStage>,
    /// Right however often you look.
    pub(super) sequential_p: f64,
    /// `sequential_p` is over 0.01.
    pub(super) ok: bool,
}

/// Shares of one rule in one stage.
#[derive(ToSchema)]
pub(super) struct SrmStage {
    /// The stage.
    pub(super) stage: i64,
    /// The rule.
    pub(super) rule: String,
    /// Expected shares by variant.
    pub(super) expected: BTreeMap<String, f64>,
    /// Units by variant.
    pub(super) observed: BTreeMap<String, u64>,
    /// Shown, decides nothing.
    #[schema(required = true)]
    pub(super) chi_square: Option<f64>,
    /// Right if this is the only look.
    #[schema(required = true)]
    pub(super) p_value: Option<f64>,
}

/// What to know about a figure, or why it is `null`.
#[derive(ToSchema)]
pub(super) struct NoteEntry {
    /// JSON pointer into the answer.
    pub(super) pointer: String,
    /// Stable code, listed in docs/report.md.
    #[schema(example = "maturing")]
    pub(super) code: String,
    /// For people.
    pub(super) detail: String,
}

/// The report over time.
#[derive(ToSchema)]
pub(super) struct Series {
    /// The flag.
    pub(super) flag: String,
    /// Its environment.
    pub(super) environment: String,
    /// `hour` or `day`.
    pub(super) by: String,
    /// The zone whose days these are.
    pub(super) tz: String,
    /// The step that counts as conversion.
    #[schema(required = true)]
    pub(super) goal: Option<String>,
    /// The first moment, as used.
    #[schema(format = DateTime)]
    pub(super) from: String,
    /// The moment after the last, as used.
    #[schema(format = DateTime)]
    pub(super) to: String,
    /// The moment whose state this is.
    #[schema(format = DateTime)]
    pub(super) computed_at: String,
    /// In order; those without exposures are left out.
    pub(super) points: Vec<PointEntry>,
    /// What to know.
    pub(super) notes: Vec<NoteEntry>,
}

/// One hour or day.
#[derive(ToSchema)]
pub(super) struct PointEntry {
    /// The day, as its zone calls it.
    #[schema(nullable = false, example = "2026-11-24")]
    pub(super) day: Option<String>,
    /// Its first moment.
    #[schema(format = DateTime)]
    pub(super) from: String,
    /// The moment after its last.
    #[schema(format = DateTime)]
    pub(super) to: String,
    /// Units first exposed in it.
    pub(super) variants: Vec<VariantRow>,
}

fn variant_example() -> Value {
    json!({
        "rule": "ramp", "variant": "on", "arm": "treatment", "exposed_users": 10_000, "maturing_users": 310,
        "converted_users": 1_320, "rate": 0.132, "rate_ci": [0.1255, 0.1388], "value": {"CNY": 5_123_400},
        "funnel_exposed_users": 10_000,
        "funnel": [{"step": "entry_clicked", "optional": false, "users": 4_100, "inferred": 0, "of_exposed": 0.41,
                    "of_previous": 0.41, "median_seconds_from_previous": 8.2, "out_of_order": 3}],
        "metrics": [{"step": "order_paid", "users": 1_320, "exposed_users": 10_000, "maturing_users": 310, "rate": 0.132,
                     "rate_ci": [0.1255, 0.1388], "events": 1_344, "value": {"CNY": 5_123_400},
                     "by": {"wechat": 1_102, "other": 231}}],
    })
}

/// Values that fit their shape.
fn value_example() -> Value {
    json!({
        "rule": "ramp", "variant": "on", "baseline": "off", "metric": "order_paid", "currency": "CNY",
        "stages_pooled": [1, 2, 3], "treatment_per_user": 2_020.3, "control_per_user": 1_747.8, "difference": 272.5,
        "difference_ci": [60.1, 484.9], "relative_lift": 0.156, "relative_ci": [0.03, 0.29], "p_value": 0.012,
        "always_valid_ci": [-31.2, 576.2], "always_valid_p": 0.11,
        "per_order": {"treatment_per_order": 14_868.8, "control_per_order": 14_565.1, "difference": 303.7,
                      "difference_ci": [-480.0, 1_087.4], "relative_lift": 0.0209, "relative_ci": [-0.03, 0.08],
                      "p_value": 0.45, "always_valid_ci": [-812.6, 1_420.1], "always_valid_p": 1.0},
        "capped": {"quantile": 0.99, "cap": 88_000.5, "removed_share": 0.0712, "treatment_removed_share": 0.0846,
                   "control_removed_share": 0.0558, "treatment_per_user": 1_849.4, "control_per_user": 1_650.2,
                   "difference": 199.2, "difference_ci": [40.3, 358.1], "relative_lift": 0.121,
                   "relative_ci": [0.02, 0.22], "p_value": 0.014, "always_valid_ci": [-12.4, 410.9],
                   "always_valid_p": 0.13},
    })
}

/// A report that fits its shape.
pub(super) fn report_example() -> Value {
    let comparison = json!({
        "rule": "ramp", "variant": "on", "baseline": "off", "metric": "order_paid", "stages_pooled": [1, 2, 3],
        "stages_left_out": [], "treatment_rate": 0.132, "control_rate": 0.12, "absolute_lift": 0.012,
        "absolute_ci": [0.003, 0.021], "relative_lift": 0.1, "relative_ci": [0.02, 0.18], "confidence": 0.95,
        "p_value": 0.009, "always_valid_ci": [-0.002, 0.026], "always_valid_relative_ci": [-0.02, 0.23],
        "always_valid_p": 0.08, "probability_better": 0.995, "expected_loss": 0.00004, "verdict": "undecided",
        "why": null, "not_worse_than": null, "look_again": {"users": 5_200, "days": 6},
        "smallest_effect": {"fixed": 0.011, "always_valid": 0.016, "days_fixed": 4, "days_always_valid": 6},
        "by": [{"value": "wechat", "treatment_rate": 0.031, "control_rate": 0.01, "absolute_lift": 0.021},
               {"value": "other", "treatment_rate": 0.101, "control_rate": 0.11, "absolute_lift": -0.009}],
        "sentence": {"en": "No difference is proven ...", "zh": "..."},
    });
    json!({
        "flag": "wechat-scan-pay", "environment": "production", "goal": "order_paid",
        "from": "2026-11-20T00:00:00.000Z", "to": "2026-11-24T08:00:00.000Z", "computed_at": "2026-11-24T08:00:00.000Z",
        "attribution_hours": 24, "variants": [variant_example()], "comparisons": [comparison],
        "guardrails": [{"rule": "ramp", "variant": "on", "baseline": "off", "step": "payment_failed", "margin": 0.002,
                        "treatment_rate": 0.0104, "control_rate": 0.01, "difference": 0.0004,
                        "always_valid_bounds": [-0.001, 0.0018], "provable_margin": 0.0018, "state": "holds",
                        "sentence": {"en": "...", "zh": "..."}}],
        "values": [value_example()],
        "ratios": [{"rule": "ramp", "variant": "on", "baseline": "off", "metric": "payment_failed", "per": "payment_tried",
                    "stages_pooled": [1, 2, 3], "treatment_ratio": 0.0915, "control_ratio": 0.0853, "difference": 0.0062,
                    "difference_ci": [0.0004, 0.012], "relative_lift": 0.0727, "relative_ci": [0.004, 0.147],
                    "p_value": 0.036, "always_valid_ci": [-0.0021, 0.0146], "always_valid_p": 0.29}],
        "switched_units": 0, "without_exposure": 0, "segments": [], "overlap": [],
        "stages": [{"stage": 1, "from": "2026-11-20T00:00:00.000Z", "to": "2026-11-21T00:00:00.000Z", "rule": "ramp",
                    "percent": 1.0, "control": 5.0,
                    "arms": {"on": {"units": 812, "matured_units": 812, "converted": 101},
                             "off": {"units": 4_102, "matured_units": 4_102, "converted": 489}}}],
        "srm": {"per_stage": [{"stage": 1, "rule": "ramp", "expected": {"on": 0.1667, "off": 0.8333},
                               "observed": {"on": 812, "off": 4_102}, "chi_square": 0.07, "p_value": 0.79}],
                "sequential_p": 0.9, "ok": true},
        "notes": [],
    })
}

/// A series that fits its shape.
pub(super) fn series_example() -> Value {
    json!({
        "flag": "wechat-scan-pay", "environment": "production", "by": "day", "tz": "Asia/Shanghai", "goal": "order_paid",
        "from": "2026-11-20T00:00:00.000Z", "to": "2026-11-24T08:00:00.000Z", "computed_at": "2026-11-24T08:00:00.000Z",
        "points": [{"day": "2026-11-24", "from": "2026-11-23T16:00:00.000Z", "to": "2026-11-24T16:00:00.000Z",
                    "variants": [variant_example()]}],
        "notes": [],
    })
}
